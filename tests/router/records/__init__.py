"""Tests of `cdp_router/records`."""
