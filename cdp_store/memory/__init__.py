"""A partition's memory as one: applying records, immutable views, digests and validation."""
