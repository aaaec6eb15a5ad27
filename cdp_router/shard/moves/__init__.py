"""Partitions on their way from one shard to another: giver, taker, what they say to each other, and who starts it."""
