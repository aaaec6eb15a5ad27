"""Checking text."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, Bools, Int
from cdp_store.kernels.jit import kernel, leaf


@leaf
def is_utf8(data: U8, start: Int, stop: Int) -> bool:
    """Tests whether data[start:stop] is UTF-8: shortest forms, no surrogates, none above U+10FFFF. Reads it once."""
    at = start
    while at < stop:
        lead = data[at]
        at += 1
        if lead < 0x80:
            continue
        # The range of the second byte rules out long forms, surrogates and too large code points.
        low, high = np.uint8(0x80), np.uint8(0xBF)
        # 0x80 to 0xBF only continue characters; 0xC0 and 0xC1 could only begin a form that is too long.
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if lead == 0xE0:
            low = np.uint8(0xA0)
        elif lead == 0xED:
            high = np.uint8(0x9F)
        elif lead == 0xF0:
            low = np.uint8(0x90)
        elif lead == 0xF4:
            high = np.uint8(0x8F)
        if at + more > stop or data[at] < low or data[at] > high:
            return False
        for i in range(1, more):
            if data[at + i] & 0xC0 != 0x80:
                return False
        at += more
    return True


@leaf
def first_not_utf8(offsets: U32, data: U8) -> Int:
    """Number of the first string data[offsets[i]:offsets[i + 1]] that is no UTF-8, or -1; reads each byte once."""
    for i in range(offsets.shape[0] - 1):
        if not is_utf8(data, np.int64(offsets[i]), np.int64(offsets[i + 1])):
            return i
    return -1


@kernel
def which_not_utf8(offsets: I64, data: U8) -> Bools:
    """Mask of the strings data[offsets[i]:offsets[i + 1]] that are no UTF-8: bool[n]."""
    count = offsets.shape[0] - 1
    found = np.zeros(count, np.bool_)
    for i in range(count):
        found[i] = not is_utf8(data, offsets[i], offsets[i + 1])
    return found
