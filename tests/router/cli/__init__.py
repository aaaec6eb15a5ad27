"""Tests of `cdp_router/cli`."""
