"""Data layer: one partition's memory and its files."""
