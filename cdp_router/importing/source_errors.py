"""Errors that concern a whole file."""

from __future__ import annotations


class SourceInvalid(Exception):
    """The file cannot be read at all, or not any further."""
