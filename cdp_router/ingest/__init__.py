"""The path of a batch: read, checked against the schema, delivered to shards."""
