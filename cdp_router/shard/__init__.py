"""The shard's process: server, commits, upkeep, snapshots, and its clients."""
