"""Tests of `cdp_store/directory`."""
