"""The compiled evaluator: a segment as a program over tables of addresses, one call for all partitions of a shard."""
