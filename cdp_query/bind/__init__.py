"""Binding: names of a question to ids of one partition, and the bound forms."""
