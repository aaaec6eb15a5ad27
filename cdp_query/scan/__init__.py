"""Scans: the events and values that a part of a question reads."""
