"""Restoring and salvaging a data directory."""
