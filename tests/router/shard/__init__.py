"""Tests of `cdp_router/shard`."""
