"""Reports: the data they read from a partition, and the mergeable parts they consist of."""
