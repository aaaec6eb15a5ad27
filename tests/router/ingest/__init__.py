"""Tests of `cdp_router/ingest`."""
