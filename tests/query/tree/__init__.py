"""Tests of `cdp_query/tree`."""
