"""Giving free memory back to the system."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Return the free pages of the C library's heap, where it can (glibc): what batches and queries used once."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
