"""Tests of `cdp_query/scan`."""
