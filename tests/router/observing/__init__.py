"""Tests of `cdp_router/observing`."""
