"""Problem of a key or a certificate before its first use; imports nothing, because clients need it."""

from __future__ import annotations


class CredentialsUnusable(ValueError):
    """A key or certificate cannot be used as given; the message names it and the reason."""
