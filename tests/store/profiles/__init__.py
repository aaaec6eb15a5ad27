"""Tests of `cdp_store/profiles`."""
