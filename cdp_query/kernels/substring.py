"""Searching many strings at once, as the one run of bytes they are."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import U8, AnyArray
from cdp_store.kernels.jit import kernel, leaf
from cdp_store.kernels.words import word_at

_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_BLOCK = 64
_WORD = 8


@kernel
def strings_containing(offsets: AnyArray, data: U8, wanted: U8, out: AnyArray) -> None:
    """out[i] = True (or 1) where string i, data[offsets[i]:offsets[i + 1]], has `wanted` (one byte or more) in it.

    Reads the bytes once, 64 at a time, for the first two bytes wanted; strings are looked up, by galloping, only where
    the whole was found.
    """
    size, length = data.shape[0], wanted.shape[0]
    # Where one byte is wanted, it is compared with itself.
    step = min(1, length - 1)
    string = 0
    at = 0
    while at + length <= size:
        # The last bytes are compared one by one: a block there would reach beyond the data.
        if at + _BLOCK + step <= size and not _has_pair(data, np.uint64(at), np.uint64(step), wanted[0], wanted[step]):
            at += _BLOCK
            continue
        stop = min(at + _BLOCK, size - length + 1)
        while at < stop:
            if at + _WORD + step <= size and not _may_begin(data, at, step, wanted):
                at += _WORD
                continue
            end = min(at + _WORD, stop)
            while at < end:
                if data[at] == wanted[0] and _matches(data, at, wanted):
                    # From the string of the match before this one: matches come in order.
                    string = _string_at(offsets, string, at)
                    last = offsets[string + 1]
                    # Strings lie back to back: a match across two of them is none.
                    if at + length <= last:
                        out[string] = True
                        at = max(at, last - 1)
                at += 1


@leaf
def _has_pair(data: U8, at: np.uint64, step: np.uint64, first: np.uint8, second: np.uint8) -> bool:
    """True if any of the next bytes is `first` and the one after it `second`."""
    found = False
    for i in range(np.uint64(_BLOCK)):
        # Truths alone, and no branch: a wide register then compares as many bytes as it holds.
        found |= (data[at + i] == first) & (data[at + i + step] == second)
    return found


@leaf
def _may_begin(data: U8, at: int, step: int, wanted: U8) -> bool:
    """False if none of the next eight places holds the first two bytes (a zero byte in a word: Mycroft, 1987)."""
    address, first, second = data.ctypes.data, np.uint64(wanted[0]) * _ONES, np.uint64(wanted[step]) * _ONES
    differ = (word_at(address, at) ^ first) | (word_at(address, at + step) ^ second)
    return bool((differ - _ONES) & ~differ & _TOPS)


@kernel
def _matches(data: U8, at: int, wanted: U8) -> bool:
    for i in range(1, wanted.shape[0]):
        if data[at + i] != wanted[i]:
            return False
    return True


@kernel
def _string_at(offsets: AnyArray, string: int, at: int) -> int:
    """The string that holds byte `at`, which lies in `string` or a later one."""
    low, high, stride = string, string + 1, 1
    last = offsets.shape[0] - 1
    while high < last and offsets[high] <= at:
        low = high
        stride *= 2
        high = min(low + stride, last)
    while low + 1 < high:
        middle = (low + high) // 2
        if offsets[middle] <= at:
            low = middle
        else:
            high = middle
    return low
