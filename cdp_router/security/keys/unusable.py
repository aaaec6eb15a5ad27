"""Problem of a key or a certificate before it was ever shown; loads nothing, since clients need it."""

from __future__ import annotations


class CredentialsUnusable(ValueError):
    """A key or certificate cannot be used as it was given; the message says which, and why."""
