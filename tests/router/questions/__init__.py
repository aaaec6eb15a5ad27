"""Tests of `cdp_router/questions`."""
