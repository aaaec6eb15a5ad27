"""Counts of events per user, against bounds; and which users have any."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.layout import LEAF_EXCLUDE_ZERO, LEAF_HIGH, LEAF_LOW, LEAF_NEGATED
from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.kernels.jit import leaf

_U32_MAX = (1 << 32) - 1


@leaf
def count_chunk(run_rows: U16, run_starts: U32, first: int, last: int, window: U32) -> None:
    """window[row] += events of each run."""
    start = run_starts[first]
    # Without sign: Numba asks of each signed index whether it counts from the end, which halves the speed.
    for run in range(np.uint64(first), np.uint64(last)):
        stop = run_starts[run + np.uint64(1)]
        window[run_rows[run]] += stop - start
        start = stop  # the end of a run is the start of the next one: each is read once


@leaf
def count_masked(run_rows: U16, run_starts: U32, first: int, last: int, passes: U8, running: I64, window: U32) -> None:
    """window[row] += events of each run that pass; passes u8 from the first run's first event on.

    What a run adds is the difference of two running totals: a loop over its few events would end unpredictably.
    """
    _add_up(passes, running)
    origin, before = np.uint64(run_starts[first]), np.int64(0)
    for run in range(np.uint64(first), np.uint64(last)):
        after = running[np.uint64(run_starts[run + np.uint64(1)]) - origin]
        window[run_rows[run]] += np.uint32(after - before)
        before = after


@leaf
def _add_up(passes: U8, running: I64) -> None:
    """running[i] = events that pass before event i."""
    total = np.int64(0)
    running[0] = 0
    for i in range(np.uint64(passes.shape[0])):
        total += np.int64(passes[i])
        running[i + np.uint64(1)] = total


@leaf
def mark_chunk(run_rows: U16, first: int, last: int, marks: U8) -> None:
    """marks[row] = 1 for the row of each run."""
    for run in range(np.uint64(first), np.uint64(last)):
        marks[run_rows[run]] = np.uint8(1)


@leaf
def mark_masked(run_rows: U16, run_starts: U32, first: int, last: int, passes: U8, running: I64, marks: U8) -> None:
    """marks[row] = 1 for the row of each run with an event that passes, see `count_masked`."""
    _add_up(passes, running)
    origin, before = np.uint64(run_starts[first]), np.int64(0)
    for run in range(np.uint64(first), np.uint64(last)):
        after = running[np.uint64(run_starts[run + np.uint64(1)]) - origin]
        marks[run_rows[run]] |= np.uint8(after != before)
        before = after


@leaf
def asks_for_any(leaf_row: I64) -> bool:
    """True if rows with any event satisfy a bound on counts, and others do not: or the other way round."""
    return bool(leaf_row[LEAF_LOW] == 1 and leaf_row[LEAF_HIGH] >= _U32_MAX and not leaf_row[LEAF_EXCLUDE_ZERO])


@leaf
def compare_marks(leaf_row: I64, marks: U8, mask: U8) -> None:
    """mask[i] = row i has events, or has none if the leaf is negated."""
    flip = np.uint8(leaf_row[LEAF_NEGATED])
    for i in range(mask.shape[0]):
        mask[i] = marks[i] ^ flip


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
