"""The small files of a shard's directory: documents, holdings, and the list of what must exist."""
