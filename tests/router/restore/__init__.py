"""Tests of `cdp_router/restore`."""
