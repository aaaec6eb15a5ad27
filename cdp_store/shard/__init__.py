"""A shard's store: admission, group commit, recovery, handover of partitions, salvage and retention."""
