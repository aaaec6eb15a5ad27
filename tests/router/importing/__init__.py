"""Tests of `cdp_router/importing`."""
