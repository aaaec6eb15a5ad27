"""Tests of `cdp_query/calendar`."""
