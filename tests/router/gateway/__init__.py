"""Tests of `cdp_router/gateway`."""
