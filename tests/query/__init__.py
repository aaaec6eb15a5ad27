"""Tests of the decision layer."""
