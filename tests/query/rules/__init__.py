"""Tests of `cdp_query/rules`."""
