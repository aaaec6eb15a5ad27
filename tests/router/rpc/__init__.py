"""Tests of `cdp_router/rpc`."""
