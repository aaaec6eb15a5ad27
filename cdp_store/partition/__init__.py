"""One partition behind one interface: locks, message ids, limits, purges, suppressions and quarantine."""
