"""Partitions on their way from one shard to another: giver, taker, their messages, and the director of moves."""
