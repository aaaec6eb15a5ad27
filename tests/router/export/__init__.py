"""Tests of `cdp_router/export`."""
