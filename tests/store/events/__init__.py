"""Tests of `cdp_store/events`."""
