"""Tests of `cdp_store/records`."""
