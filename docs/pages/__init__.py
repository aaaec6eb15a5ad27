"""Pages of the reference that are read from the code, a page a module."""
