"""Tests of `cdp_router/client`."""
