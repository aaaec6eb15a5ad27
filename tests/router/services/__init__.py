"""Tests of `cdp_router/services`."""
