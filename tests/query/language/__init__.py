"""Tests of `cdp_query/language`."""
