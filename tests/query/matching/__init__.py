"""Tests of `cdp_query/matching`."""
