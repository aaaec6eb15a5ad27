"""Tests of `cdp_query/reports`."""
