"""Erasure, suppression and retention across the cluster."""
