"""Tests of `cdp_router/process`."""
