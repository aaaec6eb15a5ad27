"""Entry points of the processes: shard, router, supervisor."""
