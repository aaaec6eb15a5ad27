"""Tests of `cdp_router/erasure`."""
