"""Tests of `cdp_router/identity`."""
