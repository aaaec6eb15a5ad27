"""Tests of `cdp_store/reading`."""
