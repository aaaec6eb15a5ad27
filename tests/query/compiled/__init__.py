"""Tests of `cdp_query/compiled`."""
