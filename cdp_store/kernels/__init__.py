"""Free functions on arrays used by the store; they know no partition, schema or file."""
