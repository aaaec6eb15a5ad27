"""Returning free memory to the system."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Returns the free pages of the C library's heap, if possible (glibc): memory of past batches and queries."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
