"""Tests of `cdp_store/shard`."""
