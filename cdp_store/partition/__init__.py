"""A partition as one door: locks, message ids, limits, purges, suppressions and quarantine."""
