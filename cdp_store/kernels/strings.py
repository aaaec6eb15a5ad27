"""Moving variable-length byte strings between flat buffers."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, AnyArray
from cdp_store.kernels.jit import kernel
from cdp_store.kernels.words import AHEAD, copy_ahead, copy_bytes


@kernel
def gather(offsets: AnyArray, data: U8, entries: I64) -> tuple[I64, U8]:
    """(offsets i64[n + 1], bytes) of strings data[offsets[e]:offsets[e + 1]], one for each of the entries."""
    count = np.uint64(entries.shape[0])
    own, end = np.empty(entries.shape[0] + 1, np.int64), np.int64(0)
    own[0] = 0
    for i in range(count):
        entry = np.uint64(entries[i])
        end += np.int64(offsets[entry + np.uint64(1)]) - np.int64(offsets[entry])
        own[i + np.uint64(1)] = end
    out: U8 = np.empty(end, np.uint8)
    source, target = data.ctypes.data, out.ctypes.data
    for i in range(count):
        start, at = int(np.int64(offsets[np.uint64(entries[i])])), own[i]
        size = own[i + np.uint64(1)] - at
        # What is copied beyond a string is overwritten by the next one.
        if start + size + AHEAD <= data.shape[0] and at + size + AHEAD <= out.shape[0]:
            copy_ahead(source + start, target + at, size)
        else:
            copy_bytes(data, start, size, out, at)
    return own, out


@kernel
def drop_first_bytes(offsets: I64, data: U8, out_offsets: I64, out: U8) -> None:
    """Copies strings, none of them empty, without the first byte of each; out_offsets is filled here."""
    for i in range(offsets.shape[0]):
        out_offsets[i] = offsets[i] - offsets[0] - i
    source, target = data.ctypes.data, out.ctypes.data
    for i in range(np.uint64(offsets.shape[0] - 1)):
        start, stop, at = offsets[i] + 1, offsets[i + np.uint64(1)], out_offsets[i]
        if stop + AHEAD <= data.shape[0] and at + (stop - start) + AHEAD <= out.shape[0]:
            copy_ahead(source + start, target + at, stop - start)
        else:
            copy_bytes(data, start, stop - start, out, at)


@kernel
def renumber(index: U32, seen: U32, stamp: int, kept: U32) -> int:
    """Replace each index[i] by its rank in order of first appearance; kept[rank] = old number. Returns the count.

    `seen` is a scratch of 2 x (largest index + 1) elements, zeroed once; each call uses a stamp > 0 of its own.
    """
    count = 0
    for i in range(index.shape[0]):
        old = index[i]
        if seen[2 * old] != stamp:
            seen[2 * old] = stamp
            seen[2 * old + 1] = count
            kept[count] = old
            count += 1
        index[i] = seen[2 * old + 1]
    return count


@kernel
def take_strings(offsets: U32, data: U8, kept: U32, out_offsets: U32, out: U8) -> None:
    """Copy string kept[i] of offsets/data to out[out_offsets[i]:]; out_offsets is filled here, out is large enough."""
    at = 0
    for i in range(kept.shape[0]):
        start, stop = int(np.int64(offsets[kept[i]])), int(np.int64(offsets[kept[i] + 1]))
        out_offsets[i] = at
        copy_bytes(data, start, stop - start, out, at)
        at += stop - start
    out_offsets[kept.shape[0]] = at
