"""Tests of the delivery layer, without processes."""
