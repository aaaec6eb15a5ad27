"""Tests of `cdp_store/kernels`."""
