"""Tests of `cdp_router/security`."""
