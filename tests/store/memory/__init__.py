"""Tests of `cdp_store/memory`."""
