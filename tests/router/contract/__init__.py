"""Tests of `cdp_router/contract`."""
