"""Tests of `cdp_query/evaluate`."""
