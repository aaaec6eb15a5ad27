"""Events of a partition: an unsealed delta and sealed, immutable chunks per name and bucket."""
