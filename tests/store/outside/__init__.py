"""Tests of `cdp_store/outside`."""
