"""Tests of `cdp_store/log`."""
