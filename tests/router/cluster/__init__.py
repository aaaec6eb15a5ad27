"""Tests of `cdp_router/cluster`."""
