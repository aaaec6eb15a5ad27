"""The shard's process behind the router: server, commits, upkeep, snapshots, and its clients."""
