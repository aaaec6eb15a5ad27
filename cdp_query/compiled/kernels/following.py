"""Steps in order: which events complete a step, and the latest start of such an attempt.

Events are numbers that sort by row, then by time: a row's number among 4,096 in the high bits, its time in the low
ones. So the events of two steps are compared as two sorted arrays, without a branch for each row. A difference of two
such numbers is either one of times of the same row, or greater than any.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U32
from cdp_store.kernels.jit import inlined, leaf
from cdp_store.limits import MORSEL_BITS, TIME_MAX_MS, TIME_MIN_MS

_ROW_BITS: Final = 12
_TIME_BITS: Final = 50
_ROWS: Final = 1 << _ROW_BITS
BLOCKS: Final = 1 << (MORSEL_BITS - _ROW_BITS)  # of rows in a morsel: numbers are comparable inside one
_WITHIN_MAX: Final = 1 << (_TIME_BITS - 1)

assert _ROW_BITS + _TIME_BITS + 1 <= 63, "numbers are signed, and rows count from 1"
assert TIME_MAX_MS - TIME_MIN_MS < _WITHIN_MAX, "no two times of a row lie so far apart"


@inlined
def row_key(row: np.uint16) -> int:
    """Number of a row's event at TIME_MIN_MS; later events follow by the millisecond."""
    return (int(np.int64(row & np.uint16(_ROWS - 1))) + 1) << _TIME_BITS


@leaf
def block_offsets(rows: U32, begins: U32, places: int, offsets: I64) -> None:
    """The events of block b are those from offsets[b] to offsets[b + 1]; `rows` ascend, `begins` are theirs."""
    number, n = np.uint64(0), np.uint64(rows.shape[0])
    for block in range(BLOCKS):
        # By halves: rows are many.
        first, left = np.uint32(block << _ROW_BITS), n - number
        while left > np.uint64(0):
            half = left >> np.uint64(1)
            if rows[number + half] < first:
                number += half + np.uint64(1)
                left -= half + np.uint64(1)
            else:
                left = half
        offsets[block] = np.int64(begins[rows[number]]) if number < n else places
    offsets[BLOCKS] = places


@leaf
def count_earlier(past: I64, past_offsets: I64, events: I64, offsets: I64, loose: int, earlier: U32) -> None:
    """past[: earlier[i]] of a block come before events[i]; those at the same instant too if `loose` is 1.

    Two blocks are compared in turns: each waits for what it loads.
    """
    for block in range(0, BLOCKS, 2):
        i, i_end = np.uint64(offsets[block]), np.uint64(offsets[block + 1])
        p, p_end = np.uint64(past_offsets[block]), np.uint64(past_offsets[block + 1])
        j, j_end = i_end, np.uint64(offsets[block + 2])
        q, q_end = p_end, np.uint64(past_offsets[block + 2])
        while i < i_end and p < p_end and j < j_end and q < q_end:
            earlier[i], earlier[j] = np.uint32(p), np.uint32(q)
            first, second = np.uint64(past[p] < events[i] + loose), np.uint64(past[q] < events[j] + loose)
            p += first
            i += np.uint64(1) - first
            q += second
            j += np.uint64(1) - second
        _count_rest(past, p, p_end, events, i, i_end, loose, earlier)
        _count_rest(past, q, q_end, events, j, j_end, loose, earlier)


@leaf
def _count_rest(
    past: I64,
    p: np.uint64,
    p_end: np.uint64,
    events: I64,
    i: np.uint64,
    i_end: np.uint64,
    loose: int,
    earlier: U32,
) -> None:
    while i < i_end and p < p_end:
        earlier[i] = np.uint32(p)
        is_before = np.uint64(past[p] < events[i] + loose)
        p += is_before
        i += np.uint64(1) - is_before
    for rest in range(i, i_end):
        earlier[rest] = np.uint32(p)


@leaf
def keep_followers(
    past_starts: I64, past_offsets: I64, events: I64, starts: I64, offsets: I64, earlier: U32, within: int
) -> None:
    """Keeps the events that complete an attempt with a later start than every one before: events[: offsets[BLOCKS]].

    `past_starts` are those of the step before, `starts` become those of the events that are kept. `offsets` are of all
    events, then of the kept ones. `within` is the time that an attempt may take; without a limit below 0.
    """
    limit = within if 0 <= within < _WITHIN_MAX else _WITHIN_MAX
    kept = np.uint64(0)
    for block in range(BLOCKS):
        before = np.uint32(past_offsets[block])
        begin, end = np.uint64(offsets[block]), np.uint64(offsets[block + 1])
        offsets[block] = np.int64(kept)
        for i in range(begin, end):
            now, place = events[i], earlier[i]
            start = past_starts[np.uint64(place - np.uint32(place > np.uint32(0)))]
            events[kept] = now
            starts[kept] = start
            # Another start than that of the event before, or both are kept or left out for the time they took.
            kept += np.uint64(place > before) & np.uint64(now - start <= limit)
            before = place
    offsets[BLOCKS] = np.int64(kept)


@leaf
def mark_rows(events: I64, offsets: I64, reached: int, wanted: U8, depth: U8) -> None:
    """wanted[row] = 1 for the rows of events, 0 for all others; their depth is `reached`."""
    wanted[:] = np.uint8(0)
    for block in range(np.uint64(BLOCKS)):
        first = block << np.uint64(_ROW_BITS)
        for i in range(np.uint64(offsets[block]), np.uint64(offsets[block + np.uint64(1)])):
            row = first + np.uint64(events[i] >> _TIME_BITS) - np.uint64(1)
            wanted[row] = np.uint8(1)
            depth[row] = np.uint8(reached)
