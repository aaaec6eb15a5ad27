"""Tests of `cdp_query/bind`."""
