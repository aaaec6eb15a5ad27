"""Tests of `cdp_store/identity`."""
