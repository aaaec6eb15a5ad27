"""Readings of everything a partition holds: exports, one person, and proofs of absence."""
