"""Growable arrays, string dictionaries and blocks of values."""
