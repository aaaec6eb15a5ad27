"""First entries of users, and the periods after them in which users returned."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_periods import period_of, period_table, periods_of_events, rows_of_events
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_IS_WIDE,
    CHUNK_TIMES,
    LEAF_EDGE_COUNT,
    LEAF_PERIODS,
    LEAF_TO_THE_END,
    LEAF_UNIT,
    LEAF_WITH_ENTRY,
)
from cdp_store.arrays import I32, I64, U8, U16, U32, U64, AnyArray
from cdp_store.kernels.jit import leaf

NEVER = 1 << 62  # of a row without an entry


@leaf
def _enter(run_rows: U16, run_starts: U32, times: AnyArray, base: int, first: int, last: int, entries: I64) -> None:
    for run in range(np.uint64(first), np.uint64(last)):
        # A run is in order of time: its first event is its earliest.
        row, time = run_rows[run], base + np.int64(times[np.uint64(run_starts[run])])
        entries[row] = min(entries[row], time)


@leaf
def _enter_passing(times: AnyArray, base: int, start: int, passes: U8, rows: U16, entries: I64) -> None:
    # Over events, not runs: how many come before the first that passes cannot be predicted.
    for i in range(np.uint64(rows.shape[0])):
        row, time = rows[i], base + np.int64(times[np.uint64(start) + i])
        entries[row] = min(entries[row], time if passes[i] else NEVER)


@leaf
def enter_chunk(chunk: I64, first: int, last: int, passes: U8, rows: U16, entries: I64) -> None:
    """entries[row] = the earlier of it and the first event of the row's run that passes.

    `passes` is empty if all do. `rows` u16 is working memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    base, events, address = chunk[CHUNK_BASE_MS], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    wide, narrow = i64s(address, events), u32s(address, events)
    if passes.shape[0] == 0:
        if chunk[CHUNK_IS_WIDE]:
            _enter(run_rows, run_starts, wide, base, first, last, entries)
        else:
            _enter(run_rows, run_starts, narrow, base, first, last, entries)
        return
    own, start = rows[: rows_of_events(run_rows, run_starts, first, last, rows)], int(np.int64(run_starts[first]))
    if chunk[CHUNK_IS_WIDE]:
        _enter_passing(wide, base, start, passes, own, entries)
    else:
        _enter_passing(narrow, base, start, passes, own, entries)


@leaf
def period_of_entries(leaf_row: I64, rows: U32, entries: I64, periods: I32) -> None:
    """periods[row] = the calendar period of its entry, for rows with one."""
    edges, blocks, bits = period_table(leaf_row)
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        periods[row] = np.int32(period_of(edges, blocks, bits, entries[row] - edges[0]))


@leaf
def _elapsed(gap: int, unit: int, inverse: float) -> int:
    """Whole units in a gap; a product is cheaper than a division of integers, and off by one at most."""
    period = np.int64(gap * inverse)
    period -= np.int64(period * unit > gap)
    return int(period + np.int64((period + 1) * unit <= gap))


@leaf
def _return(
    leaf_row: I64,
    times: AnyArray,
    base: int,
    start: int,
    rows: U16,
    passes: U8,
    entries: I64,
    periods: I32,
    event_periods: U32,
    returned: U64,
) -> None:
    is_masked, to_the_end, unit = passes.shape[0] > 0, int(leaf_row[LEAF_TO_THE_END] != 0), leaf_row[LEAF_UNIT]
    last, delay, inverse = leaf_row[LEAF_PERIODS] - 1, int(leaf_row[LEAF_WITH_ENTRY] == 0), 1.0 / max(unit, 1)
    # Over events, not runs, and without a branch for each: which of them come after an entry cannot be predicted.
    for i in range(np.uint64(rows.shape[0])):
        row, time = rows[i], int(base + np.int64(times[np.uint64(start) + i]))
        gap = time - entries[row]
        if unit:
            period = _elapsed(gap, unit, inverse)
        else:
            period = int(np.int64(event_periods[i])) - int(np.int64(periods[row]))
        counts = int(gap >= delay) & (int(period <= last) | to_the_end)
        if is_masked:
            counts &= int(np.int64(passes[i]))
        returned[row] |= np.uint64(counts) << np.uint64(min(max(period, 0), last))


@leaf
def return_chunk(
    leaf_row: I64,
    chunk: I64,
    first: int,
    last: int,
    passes: U8,
    rows: U16,
    entries: I64,
    periods: I32,
    event_periods: U32,
    returned: U64,
) -> None:
    """Sets bit p of returned[row] for each event of the row's run in the p-th period after its entry.

    `rows` u16 and `event_periods` u32 are working memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    base, events, address = chunk[CHUNK_BASE_MS], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    own = rows[: rows_of_events(run_rows, run_starts, first, last, rows)]
    start, wide, narrow = int(np.int64(run_starts[first])), i64s(address, events), u32s(address, events)
    if not leaf_row[LEAF_UNIT]:
        periods_of_events(leaf_row, chunk, start, event_periods[: own.shape[0]])
    if chunk[CHUNK_IS_WIDE]:
        _return(leaf_row, wide, base, start, own, passes, entries, periods, event_periods, returned)
    else:
        _return(leaf_row, narrow, base, start, own, passes, entries, periods, event_periods, returned)


@leaf
def tally_cohorts(
    leaf_row: I64, rows: U32, entries: I64, periods: I32, returned: U64, chosen: U32, output: I64
) -> None:
    """Adds each row to its cohort: users, its latest entry, and the periods in which it returned.

    `output` i64[cohorts of users, then cohorts of latest entries, then cohorts x periods]. `chosen` u32[rows] is
    working memory.
    """
    cohorts, count, found = leaf_row[LEAF_EDGE_COUNT] - 1, leaf_row[LEAF_PERIODS], np.uint64(0)
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        own = np.int64(periods[row])
        output[own] += 1
        output[cohorts + own] = max(output[cohorts + own], entries[row])
        # Listed first, without a branch for each: which rows returned cannot be predicted.
        chosen[found] = row
        found += np.uint64(returned[row] != np.uint64(0))
    for number in range(found):
        row = chosen[number]
        bits, cell = returned[row], 2 * cohorts + np.int64(periods[row]) * count
        if leaf_row[LEAF_TO_THE_END]:
            bits = _filled_below(bits)
        for period in range(np.uint64(count)):
            output[np.uint64(cell) + period] += np.int64((bits >> period) & np.uint64(1))


@leaf
def _filled_below(bits: np.uint64) -> np.uint64:
    """All bits up to the highest one that is set."""
    # Each step doubles the stretch of set bits below the highest one.
    for shift in (1, 2, 4, 8, 16, 32):
        bits |= bits >> np.uint64(shift)
    return bits
