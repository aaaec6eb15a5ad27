"""Exports: everything a cluster holds as tables."""
