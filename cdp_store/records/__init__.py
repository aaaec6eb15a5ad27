"""Records as they arrive at a partition: columns, their bytes, and the checks on them."""
