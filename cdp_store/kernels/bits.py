"""Bitmaps in numpy's little bit order: bit i is bit i & 7 of byte i >> 3."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import U8, U16
from cdp_store.kernels.jit import kernel


@kernel
def set_bits(bitmap: U8, rows: U16) -> int:
    """Set the bits of `rows`; returns how many were not set before."""
    added = 0
    for i in range(rows.shape[0]):
        byte, bit = np.int64(rows[i]) >> 3, np.uint8(1 << (np.int64(rows[i]) & 7))
        if bitmap[byte] & bit == 0:
            bitmap[byte] |= bit
            added += 1
    return added


@kernel
def clear_bits(bitmap: U8, rows: U16) -> int:
    """Clear the bits of `rows`; returns how many were set before."""
    taken = 0
    for i in range(rows.shape[0]):
        byte, bit = np.int64(rows[i]) >> 3, np.uint8(1 << (np.int64(rows[i]) & 7))
        if bitmap[byte] & bit != 0:
            bitmap[byte] ^= bit
            taken += 1
    return taken
