"""Counts of events per user, against bounds."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_walk import is_covered, run_arrays
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_IS_WIDE,
    CHUNK_TIMES,
    LEAF_EXCLUDE_ZERO,
    LEAF_FIRST_MS,
    LEAF_HIGH,
    LEAF_LAST_MS,
    LEAF_LOW,
    LEAF_NEGATED,
)
from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.kernels.jit import leaf

_U32_MAX = (1 << 32) - 1


@leaf
def _count_all(run_rows: U16, run_starts: U32, first: int, last: int, window: U32) -> None:
    start = run_starts[first]
    # Without sign: Numba asks of each signed index whether it counts from the end, which halves the speed.
    for run in range(np.uint64(first), np.uint64(last)):
        stop = run_starts[run + np.uint64(1)]
        window[run_rows[run]] += stop - start
        start = stop  # the end of a run is the start of the next one: each is read once


@leaf
def _count_between(
    run_rows: U16, run_starts: U32, times: AnyArray, first: int, last: int, low: int, high: int, window: U32
) -> None:
    # A run is in time order, so that its ends often decide.
    for run in range(np.uint64(first), np.uint64(last)):
        start, stop = np.uint64(run_starts[run]), np.uint64(run_starts[run + np.uint64(1)])
        while start < stop and np.int64(times[start]) < low:
            start += np.uint64(1)
        while start < stop and np.int64(times[stop - np.uint64(1)]) > high:
            stop -= np.uint64(1)
        window[run_rows[run]] += np.uint32(stop - start)


@leaf
def count_chunk(leaf_row: I64, chunk: I64, first: int, last: int, window: U32) -> None:
    """window[row] += events of each run in the interval; most runs never look at a single event."""
    run_rows, run_starts = run_arrays(chunk, last)
    if is_covered(leaf_row, chunk):
        _count_all(run_rows, run_starts, first, last, window)
        return
    low, high = leaf_row[LEAF_FIRST_MS] - chunk[CHUNK_BASE_MS], leaf_row[LEAF_LAST_MS] - chunk[CHUNK_BASE_MS]
    if chunk[CHUNK_IS_WIDE]:
        wide = i64s(chunk[CHUNK_TIMES], chunk[CHUNK_EVENTS])
        _count_between(run_rows, run_starts, wide, first, last, low, high, window)
    else:
        narrow = u32s(chunk[CHUNK_TIMES], chunk[CHUNK_EVENTS])
        _count_between(run_rows, run_starts, narrow, first, last, low, high, window)


@leaf
def count_masked(run_rows: U16, run_starts: U32, first: int, last: int, passes: U8, running: I64, window: U32) -> None:
    """window[row] += events of each run that pass; passes u8 from the first run's first event on.

    What a run adds is the difference of two running totals: a loop over its few events would end unpredictably.
    """
    total = np.int64(0)
    running[0] = 0
    for i in range(np.uint64(passes.shape[0])):
        total += np.int64(passes[i])
        running[i + np.uint64(1)] = total
    origin, before = np.uint64(run_starts[first]), np.int64(0)
    for run in range(np.uint64(first), np.uint64(last)):
        after = running[np.uint64(run_starts[run + np.uint64(1)]) - origin]
        window[run_rows[run]] += np.uint32(after - before)
        before = after


@leaf
def compare_counts(leaf_row: I64, window: U32, mask: U8) -> None:
    """mask[i] = the number of row i is as wanted."""
    low, high = max(leaf_row[LEAF_LOW], 0), min(leaf_row[LEAF_HIGH], _U32_MAX)
    is_empty = low > high
    least, most = np.uint32(min(low, _U32_MAX)), np.uint32(max(high, 0))
    flip = np.uint8(leaf_row[LEAF_NEGATED])
    for i in range(mask.shape[0]):
        mask[i] = np.uint8((window[i] >= least) & (window[i] <= most)) ^ flip
    if is_empty:
        mask[:] = flip
    if leaf_row[LEAF_EXCLUDE_ZERO]:
        for i in range(mask.shape[0]):
            mask[i] &= np.uint8(window[i] > np.uint32(0))
