"""Conditions on values: ranges, matchers and masks over columns."""
