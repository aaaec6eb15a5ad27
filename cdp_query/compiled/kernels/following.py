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

BLOCK_BITS: Final = 12
_TIME_BITS: Final = 50
_ROWS: Final = 1 << BLOCK_BITS
BLOCKS: Final = 1 << (MORSEL_BITS - BLOCK_BITS)  # of rows in a morsel: numbers are comparable inside one
_TIME_MASK: Final = (1 << _TIME_BITS) - 1
_WITHIN_MAX: Final = 1 << (_TIME_BITS - 1)

assert BLOCK_BITS + _TIME_BITS + 1 <= 63, "numbers are signed, and rows count from 1"
assert TIME_MAX_MS - TIME_MIN_MS < _WITHIN_MAX, "no two times of a row lie so far apart"


@inlined
def row_key(row: np.uint16) -> int:
    """Number of a row's event at TIME_MIN_MS; later events follow by the millisecond."""
    return (int(np.int64(row & np.uint16(_ROWS - 1))) + 1) << _TIME_BITS


@leaf
def count_earlier(past: I64, past_offsets: I64, events: I64, offsets: I64, loose: int, earlier: U32) -> None:
    """past[: earlier[i]] of a block come before events[i]; those at the same instant too if `loose` is 1.

    Four blocks are compared in turns: each waits for what it loads.
    """
    for block in range(0, BLOCKS, 4):
        i, i_end = np.uint64(offsets[block]), np.uint64(offsets[block + 1])
        p, p_end = np.uint64(past_offsets[block]), np.uint64(past_offsets[block + 1])
        j, j_end = i_end, np.uint64(offsets[block + 2])
        q, q_end = p_end, np.uint64(past_offsets[block + 2])
        k, k_end = j_end, np.uint64(offsets[block + 3])
        r, r_end = q_end, np.uint64(past_offsets[block + 3])
        m, m_end = k_end, np.uint64(offsets[block + 4])
        s, s_end = r_end, np.uint64(past_offsets[block + 4])
        while (
            i < i_end and p < p_end and j < j_end and q < q_end
            and k < k_end and r < r_end and m < m_end and s < s_end
        ):  # fmt: skip
            earlier[i], earlier[j] = np.uint32(p), np.uint32(q)
            earlier[k], earlier[m] = np.uint32(r), np.uint32(s)
            first, second = np.uint64(past[p] < events[i] + loose), np.uint64(past[q] < events[j] + loose)
            third, fourth = np.uint64(past[r] < events[k] + loose), np.uint64(past[s] < events[m] + loose)
            p += first
            i += np.uint64(1) - first
            q += second
            j += np.uint64(1) - second
            r += third
            k += np.uint64(1) - third
            s += fourth
            m += np.uint64(1) - fourth
        _count_rest(past, p, p_end, events, i, i_end, loose, earlier)
        _count_rest(past, q, q_end, events, j, j_end, loose, earlier)
        _count_rest(past, r, r_end, events, k, k_end, loose, earlier)
        _count_rest(past, s, s_end, events, m, m_end, loose, earlier)


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
    past_starts: I64,
    past_offsets: I64,
    events: I64,
    starts: I64,
    offsets: I64,
    earlier: U32,
    within: int,
    step: int,
    carried: U8,
    carry_before: I64,
    carry_own: I64,
) -> None:
    """Keeps the events that complete an attempt with a later start than every one before: events[: offsets[BLOCKS]].

    `past_starts` are those of the step before, `starts` become those of the events that are kept. `offsets` are of all
    events, then of the kept ones. `within` is the time that an attempt may take; without a limit below 0. Of the times
    before these events, carry_before and carry_own i64[rows] hold the latest starts of attempts that completed the step
    before, and this one: where carried[row] is at least `step`, and more than that.
    """
    limit, least = within if 0 <= within < _WITHIN_MAX else _WITHIN_MAX, np.uint8(step)
    kept = np.uint64(0)
    for block in range(BLOCKS):
        none, first = np.uint32(past_offsets[block]), np.uint64(block << BLOCK_BITS) - np.uint64(1)
        begin, end = np.uint64(offsets[block]), np.uint64(offsets[block + 1])
        offsets[block] = np.int64(kept)
        before, before_row = none, first
        for i in range(begin, end):
            now, place = events[i], earlier[i]
            row = first + (np.uint64(now) >> np.uint64(_TIME_BITS))
            # Products instead of branches, which could not be predicted; 0 lies longer ago than any limit.
            here = past_starts[np.uint64(place - np.uint32(place > none))] * np.int64(place > none)
            start = max(here, carry_before[row] * np.int64(carried[row] >= least))
            newest = carry_own[row] * np.int64(carried[row] > least)
            events[kept] = now
            starts[kept] = start
            # Another start than that of the event before, or both are kept or left out for the time they took.
            is_new = np.uint64(place > before) | np.uint64(row != before_row)
            kept += is_new & np.uint64(now - start <= limit) & np.uint64(start > newest)
            before, before_row = place, row
    offsets[BLOCKS] = np.int64(kept)


@leaf
def mark_reached(events: I64, offsets: I64, reached: int, level: U8, depth: U8) -> None:
    """level[row] and depth[row] = `reached` at least, for the rows of events."""
    least = np.uint8(reached)
    for block in range(BLOCKS):
        first = np.uint64(block << BLOCK_BITS) - np.uint64(1)
        for i in range(np.uint64(offsets[block]), np.uint64(offsets[block + 1])):
            row = first + (np.uint64(events[i]) >> np.uint64(_TIME_BITS))
            level[row] = max(level[row], least)
            depth[row] = max(depth[row], least)


@leaf
def carry_starts(events: I64, starts: I64, offsets: I64, reached: int, since_ms: int, carried: U8, carry: I64) -> int:
    """carry[row] = the start of the row's last event; carried[row] = `reached` at least if that is not before since_ms.

    Returns the number of events whose start is not.
    """
    least, found, since = np.uint8(reached), np.uint64(0), max(since_ms, TIME_MIN_MS) - TIME_MIN_MS
    for block in range(BLOCKS):
        first = np.uint64(block << BLOCK_BITS) - np.uint64(1)
        for i in range(np.uint64(offsets[block]), np.uint64(offsets[block + 1])):
            row = first + (np.uint64(events[i]) >> np.uint64(_TIME_BITS))
            is_live = (starts[i] & _TIME_MASK) >= since
            carry[row] = starts[i]
            carried[row] = max(carried[row], least * np.uint8(is_live))
            found += np.uint64(is_live)
    return int(np.int64(found))
