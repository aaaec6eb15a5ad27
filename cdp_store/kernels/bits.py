"""Bitmaps in numpy's little bit order: bit i is bit i & 7 of byte i >> 3; and masks, a byte for each entry."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16
from cdp_store.kernels.jit import kernel


@kernel
def places_of_ones(mask: U8) -> I64:
    """Places of the ones in a mask of zeros and ones: i64[n], ascending."""
    count = np.int64(0)
    for i in range(mask.shape[0]):
        count += mask[i]
    # Without a branch for each, which could not be predicted: what is no one is overwritten.
    places, found = np.empty(count + 1, np.int64), np.uint64(0)
    for i in range(np.uint64(mask.shape[0])):
        places[found] = i
        found += np.uint64(mask[i])
    return places[:count]


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
