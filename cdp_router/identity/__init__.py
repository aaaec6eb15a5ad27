"""Identifiers across partitions: links, limits, and transfers of profiles."""
