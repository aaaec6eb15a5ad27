"""Profiles of a partition in memory: attributes, their history, and times."""
