"""Tests of `cdp_store/partition`."""
