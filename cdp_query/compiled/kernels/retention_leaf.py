"""First entries of users, and the periods after them in which users returned."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_IS_WIDE,
    CHUNK_TIMES,
    LEAF_BLOCK_BITS,
    LEAF_BLOCK_COUNT,
    LEAF_BLOCKS,
    LEAF_EDGE_COUNT,
    LEAF_EDGES,
    LEAF_PERIODS,
    LEAF_TO_THE_END,
    LEAF_UNIT,
    LEAF_WITH_ENTRY,
)
from cdp_store.arrays import I32, I64, U8, U16, U32, U64, AnyArray
from cdp_store.kernels.jit import leaf

NEVER = 1 << 62  # of a row without an entry


@leaf
def _enter(
    run_rows: U16, run_starts: U32, times: AnyArray, base: int, first: int, last: int, passes: U8, entries: I64
) -> None:
    origin, is_masked = np.uint64(run_starts[first]), passes.shape[0] > 0
    for run in range(np.uint64(first), np.uint64(last)):
        i, stop = np.uint64(run_starts[run]), np.uint64(run_starts[run + np.uint64(1)])
        # A run is in order of time: its first event that passes is its earliest.
        while is_masked and i < stop and not passes[i - origin]:
            i += np.uint64(1)
        if i < stop:
            entries[run_rows[run]] = min(entries[run_rows[run]], base + np.int64(times[i]))


@leaf
def enter_chunk(chunk: I64, first: int, last: int, passes: U8, entries: I64) -> None:
    """entries[row] = the earlier of it and the first event of the row's run that passes."""
    run_rows, run_starts = run_arrays(chunk, last)
    base, events, address = chunk[CHUNK_BASE_MS], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    if chunk[CHUNK_IS_WIDE]:
        _enter(run_rows, run_starts, i64s(address, events), base, first, last, passes, entries)
    else:
        _enter(run_rows, run_starts, u32s(address, events), base, first, last, passes, entries)


@leaf
def period_at(leaf_row: I64, time: int) -> int:
    """The calendar period of an instant inside the table."""
    edges, bits = i64s(leaf_row[LEAF_EDGES], leaf_row[LEAF_EDGE_COUNT]), leaf_row[LEAF_BLOCK_BITS]
    blocks = u32s(leaf_row[LEAF_BLOCKS], leaf_row[LEAF_BLOCK_COUNT])
    period = np.int64(blocks[np.uint64((time - edges[0]) >> bits)])
    while time >= edges[np.uint64(period + 1)]:
        period += 1
    return int(period)


@leaf
def period_of_entries(leaf_row: I64, rows: U32, entries: I64, periods: I32) -> None:
    """periods[row] = the calendar period of its entry, for rows with one."""
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        periods[row] = np.int32(period_at(leaf_row, entries[row]))


@leaf
def _elapsed(gap: int, unit: int, inverse: float) -> int:
    """Whole units in a gap; a product is cheaper than a division of integers, and off by one at most."""
    period = np.int64(gap * inverse)
    period -= np.int64(period * unit > gap)
    return int(period + np.int64((period + 1) * unit <= gap))


@leaf
def _return(
    leaf_row: I64,
    run_rows: U16,
    run_starts: U32,
    times: AnyArray,
    base: int,
    first: int,
    last: int,
    passes: U8,
    entries: I64,
    periods: I32,
    returned: U64,
) -> None:
    origin, is_masked, to_the_end = np.uint64(run_starts[first]), passes.shape[0] > 0, leaf_row[LEAF_TO_THE_END] != 0
    count, unit, delay = leaf_row[LEAF_PERIODS], leaf_row[LEAF_UNIT], int(leaf_row[LEAF_WITH_ENTRY] == 0)
    inverse = 1.0 / max(unit, 1)
    for run in range(np.uint64(first), np.uint64(last)):
        row = run_rows[run]
        entry, stop = entries[row], np.uint64(run_starts[run + np.uint64(1)])
        # A run is in order of time: its last event tells whether any comes after the entry.
        if base + np.int64(times[stop - np.uint64(1)]) < entry + delay:
            continue
        found = np.uint64(0)
        for i in range(np.uint64(run_starts[run]), stop):
            time = base + np.int64(times[i])
            if time < entry + delay or (is_masked and not passes[i - origin]):
                continue
            if unit:
                period = _elapsed(time - entry, unit, inverse)
            else:
                period = period_at(leaf_row, int(time)) - int(np.int64(periods[row]))
            if period >= count:
                if to_the_end:
                    found |= np.uint64(1) << np.uint64(count - 1)
                break  # later ones are beyond as well
            found |= np.uint64(1) << np.uint64(period)
        returned[row] |= found


@leaf
def return_chunk(
    leaf_row: I64, chunk: I64, first: int, last: int, passes: U8, entries: I64, periods: I32, returned: U64
) -> None:
    """Sets bit p of returned[row] for each event of the row's run in the p-th period after its entry."""
    run_rows, run_starts = run_arrays(chunk, last)
    base, events, address = chunk[CHUNK_BASE_MS], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    if chunk[CHUNK_IS_WIDE]:
        wide = i64s(address, events)
        _return(leaf_row, run_rows, run_starts, wide, base, first, last, passes, entries, periods, returned)
    else:
        narrow = u32s(address, events)
        _return(leaf_row, run_rows, run_starts, narrow, base, first, last, passes, entries, periods, returned)


@leaf
def tally_cohorts(leaf_row: I64, rows: U32, entries: I64, periods: I32, returned: U64, output: I64) -> None:
    """Adds each row to its cohort: users, its latest entry, and the periods in which it returned.

    `output` i64[cohorts of users, then cohorts of latest entries, then cohorts x periods].
    """
    cohorts, count = leaf_row[LEAF_EDGE_COUNT] - 1, leaf_row[LEAF_PERIODS]
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        own, bits = np.int64(periods[row]), returned[row]
        if leaf_row[LEAF_TO_THE_END]:
            bits = _filled_below(bits)
        output[own] += 1
        output[cohorts + own] = max(output[cohorts + own], entries[row])
        cell = 2 * cohorts + own * count
        while bits != np.uint64(0):
            output[cell] += np.int64(bits & np.uint64(1))
            bits >>= np.uint64(1)
            cell += 1


@leaf
def _filled_below(bits: np.uint64) -> np.uint64:
    """All bits up to the highest one that is set."""
    # Each step doubles the stretch of set bits below the highest one.
    for shift in (1, 2, 4, 8, 16, 32):
        bits |= bits >> np.uint64(shift)
    return bits
