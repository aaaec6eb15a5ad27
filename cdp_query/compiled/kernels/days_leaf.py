"""Numbers of distinct local dates per user, in windows of at most 64 days: a bit for each date."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_IS_WIDE,
    CHUNK_TIMES,
    LEAF_DAY_COUNT,
    LEAF_DAYS,
    LEAF_HIGH,
    LEAF_LOW,
    LEAF_NEGATED,
)
from cdp_store.arrays import I64, U8, U16, U32, U64, AnyArray
from cdp_store.kernels.jit import leaf

_DAY_MS = np.uint64(86_400_000)


@leaf
def _day_of(starts: I64, time: int) -> int:
    """The day of an instant: a guess by division is a clock change away at most."""
    last = np.uint64(starts.shape[0] - 2)
    day = min(np.uint64(max(time - starts[0], 0)) // _DAY_MS, last)
    while day > np.uint64(0) and time < starts[day]:
        day -= np.uint64(1)
    while day < last and time >= starts[day + np.uint64(1)]:
        day += np.uint64(1)
    return int(np.int64(day))


@leaf
def _mark(
    run_rows: U16,
    run_starts: U32,
    times: AnyArray,
    base: int,
    first: int,
    last: int,
    passes: U8,
    starts: I64,
    days: U64,
) -> None:
    # Over events, not runs: a loop over a run's few events would end unpredictably.
    run, origin = np.uint64(first), np.uint64(run_starts[first])
    for i in range(origin, np.uint64(run_starts[last])):
        run += np.uint64(i == np.uint64(run_starts[run + np.uint64(1)]))
        day = _day_of(starts, int(base + np.int64(times[i])))
        days[run_rows[run]] |= np.uint64(passes[i - origin]) << np.uint64(day)


@leaf
def mark_days(leaf_row: I64, chunk: I64, first: int, last: int, passes: U8, days: U64) -> None:
    """Sets the bit of its date in days[row] for each event of the runs that passes."""
    run_rows, run_starts = run_arrays(chunk, last)
    starts = i64s(leaf_row[LEAF_DAYS], leaf_row[LEAF_DAY_COUNT])
    base, events, address = chunk[CHUNK_BASE_MS], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    if chunk[CHUNK_IS_WIDE]:
        _mark(run_rows, run_starts, i64s(address, events), base, first, last, passes, starts, days)
    else:
        _mark(run_rows, run_starts, u32s(address, events), base, first, last, passes, starts, days)


@leaf
def day_bit(leaf_row: I64, time: int) -> np.uint64:
    """The bit of the date of an instant."""
    starts = i64s(leaf_row[LEAF_DAYS], leaf_row[LEAF_DAY_COUNT])
    return np.uint64(1) << np.uint64(_day_of(starts, time))


@leaf
def compare_days(leaf_row: I64, days: U64, mask: U8) -> None:
    """mask[i] = the number of dates of row i is as wanted."""
    low, high, flip = leaf_row[LEAF_LOW], leaf_row[LEAF_HIGH], np.uint8(leaf_row[LEAF_NEGATED])
    for i in range(mask.shape[0]):
        count = _bits(days[i])
        mask[i] = np.uint8((count >= low) & (count <= high)) ^ flip


@leaf
def _bits(word: np.uint64) -> int:
    """Number of bits that are set (Hacker's Delight, 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int(np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56)))
