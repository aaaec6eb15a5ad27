"""Periods after their entry in which users returned: one pass over the returns, a bit per row and period."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I32, I64, U16, U32, U64, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def _mark(returned: U64, row: int, period: int, count: int, to_the_end: bool) -> None:
    """Set the bit of a period; one after the last counts as the last where later returns count too."""
    if period >= count and to_the_end:
        period = count - 1
    if period < count:
        returned[row, period >> 6] |= np.uint64(1) << np.uint64(period & 63)


@kernel
def mark_elapsed_periods(
    run_rows: U16,
    run_starts: U32,
    run_offsets: I64,
    times: AnyArray,
    base: int,
    mask: Bools,
    entry: I64,
    with_entry: bool,
    unit: int,
    periods: int,
    to_the_end: bool,
    returned: U64,
) -> None:
    """Set bit p of returned[row] for each event p whole units of ms after its row's entry.

    `entry` i64[rows] is epoch ms, `returned` u64[rows, words]. A row without an entry has an instant later than all
    events. `with_entry` takes events at the very instant of the entry as well. `mask` is empty where all events count.
    Reads 6 bytes a run and 4 an event, 5 with a mask.
    """
    masked = mask.shape[0] > 0
    inverse = 1.0 / unit
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            row = first + run_rows[run]
            entered = entry[row]
            for i in range(run_starts[run], run_starts[run + 1]):
                if masked and not mask[i]:
                    continue
                gap = base + np.int64(times[i]) - entered
                if gap > 0 or (gap == 0 and with_entry):
                    # A product is cheaper than a division of integers, and off by one at most.
                    period = int(gap * inverse)
                    if period * unit > gap:
                        period -= 1
                    elif (period + 1) * unit <= gap:
                        period += 1
                    _mark(returned, row, period, periods, to_the_end)


@kernel
def mark_calendar_periods(
    run_rows: U16,
    run_starts: U32,
    run_offsets: I64,
    times: AnyArray,
    base: int,
    mask: Bools,
    entry: I64,
    with_entry: bool,
    edges: I64,
    blocks: I32,
    block_bits: int,
    entry_period: I32,
    periods: int,
    to_the_end: bool,
    returned: U64,
) -> None:
    """Set bit p of returned[row] for each event p calendar periods after the period of its row's entry.

    `edges` i64 are epoch ms, `blocks` the table of periods.Periods over them. Otherwise as mark_elapsed_periods.
    """
    masked = mask.shape[0] > 0
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            row = first + run_rows[run]
            entered = entry[row]
            for i in range(run_starts[run], run_starts[run + 1]):
                if masked and not mask[i]:
                    continue
                at = base + np.int64(times[i])
                if at > entered or (at == entered and with_entry):
                    # From the first period of the instant's block on; the last edge is later than the instant.
                    period = blocks[(at - edges[0]) >> block_bits]
                    while at >= edges[period + 1]:
                        period += 1
                    _mark(returned, row, period - entry_period[row], periods, to_the_end)


@kernel
def mark_given_periods(rows: U32, given: I64, periods: int, to_the_end: bool, returned: U64) -> None:
    """Set bit given[i] of row rows[i] for each event; reads 12 bytes an event."""
    for i in range(rows.shape[0]):
        _mark(returned, rows[i], given[i], periods, to_the_end)


@kernel
def first_times(
    run_rows: U16, run_starts: U32, run_offsets: I64, times: AnyArray, base: int, mask: Bools, entry: I64
) -> None:
    """entry[row] = min(entry[row], base + first time of its run with mask); `mask` is empty where all events count."""
    masked = mask.shape[0] > 0
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            i, stop = run_starts[run], run_starts[run + 1]
            # A run is in order of time: its first event with mask is its earliest.
            while masked and i < stop and not mask[i]:
                i += np.uint32(1)
            if i < stop:
                row = first + run_rows[run]
                entry[row] = min(entry[row], base + np.int64(times[i]))


@kernel
def entry_bounds(entry: I64, population: Bools, never: int) -> tuple[int, int, int]:
    """(rows with an entry, the earliest, the latest); rows outside of the population lose theirs. 9 bytes a row."""
    users, earliest, latest = 0, never, -never
    for row in range(entry.shape[0]):
        if not population[row]:
            entry[row] = never
        if entry[row] != never:
            users += 1
            earliest = min(earliest, entry[row])
            latest = max(latest, entry[row])
    return users, earliest, latest


@kernel
def period_of_rows(entry: I64, never: int, edges: I64, blocks: I32, block_bits: int, periods: I32) -> None:
    """periods[row] = the calendar period of its entry, -1 without one."""
    for row in range(entry.shape[0]):
        periods[row] = -1
        if entry[row] != never:
            period = blocks[(entry[row] - edges[0]) >> block_bits]
            while entry[row] >= edges[period + 1]:
                period += 1
            periods[row] = period


@kernel
def count_cohorts(cohort: I32, entry: I64, returned: U64, from_last: bool, users: I64, cells: I64, latest: I64) -> None:
    """Add each row to users[cohort] and cells[cohort, p] of the periods it returned in; a negative cohort is none.

    `from_last`: a return in a period counts for all periods before it too. latest[cohort] is raised to its entries.
    """
    periods, words = cells.shape[1], returned.shape[1]
    for row in range(cohort.shape[0]):
        own = cohort[row]
        if own < 0:
            continue
        users[own] += 1
        latest[own] = max(latest[own], entry[row])
        later = False
        # From the last word down, since a return fills the periods before it.
        for back in range(words):
            word = words - 1 - back
            bits = returned[row, word]
            if from_last:
                bits = ~np.uint64(0) if later else _filled_below(bits)
                later = later or bits != 0
            first = word << 6
            for bit in range(min(periods - first, 64)):
                cells[own, first + bit] += np.int64((bits >> np.uint64(bit)) & np.uint64(1))


@kernel
def _filled_below(bits: np.uint64) -> np.uint64:
    """All bits up to the highest one that is set."""
    # Each step doubles the stretch of set bits below the highest one.
    for shift in (1, 2, 4, 8, 16, 32):
        bits |= bits >> np.uint64(shift)
    return bits
