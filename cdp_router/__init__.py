"""Delivery layer: everything that talks."""
