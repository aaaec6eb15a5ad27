"""Tests of `cdp_query/kernels`."""
