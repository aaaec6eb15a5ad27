"""Reports: what they read of a partition, and the mergeable parts they are made of."""
