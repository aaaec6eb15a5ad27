"""Commands on a cluster: start, status, moves, snapshots and logs."""
