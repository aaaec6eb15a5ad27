"""Tests of `cdp_store/columns`."""
