"""Tests of `cdp_store/snapshot`."""
