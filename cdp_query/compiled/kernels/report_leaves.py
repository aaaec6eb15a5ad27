"""Leaves of reports: what the rows of one morsel add to the numbers of an answer."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import u8s
from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.chunk_walk import note_leaf, walk_leaf
from cdp_query.compiled.kernels.layout import (
    BOUND_RETURNED,
    ENTRY_LEAF,
    LEAF_REPORTS,
    LEAF_STEPS,
    PART_FIRST_ROW,
    PART_POPULATION,
    RETURN_LEAF,
    TREND_LEAF,
)
from cdp_query.compiled.kernels.retention_leaf import NEVER, period_of_entries, tally_cohorts
from cdp_query.compiled.kernels.sequence_leaf import keep_marked, sequence_leaf
from cdp_query.compiled.kernels.values import copy_mask, count_ones, list_rows
from cdp_store.arrays import I64, U8, U64
from cdp_store.kernels.jit import inlined, leaf
from cdp_store.limits import MORSEL_BITS


@leaf
def want_population(part: I64, morsel: int, wanted: U8) -> None:
    """wanted[i] = row i of the morsel is in the population."""
    if part[PART_POPULATION] == 0:
        wanted[:] = np.uint8(1)
    else:
        copy_mask(u8s(part[PART_POPULATION] + (morsel << MORSEL_BITS), wanted.shape[0]), wanted)


@inlined
def ordered_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    is_narrow: bool,
    counters: I64,
    mask: U8,
) -> None:
    """Evaluates a sequence: mask[i] = row i completed all steps. Of a funnel, mask[i] = row i completed any.

    A funnel adds to `output` i64[steps + 2] the users at each depth from 0 on, then those with a recent entry that are
    not at the end.
    """
    n, length, is_report = mask.shape[0], tables.leaves[argument, LEAF_STEPS], tables.leaves[argument, LEAF_REPORTS]
    wanted, depth = memory.wanted[:n], memory.depth[:n]
    wanted[:] = np.uint8(1)
    if is_report:
        want_population(tables.parts[number], morsel, wanted)
    elif is_narrow:
        copy_mask(memory.asked, wanted)
    sequence_leaf(tables, memory, results, number, argument, morsel, counters, wanted, depth)
    if is_report:
        want_population(tables.parts[number], morsel, wanted)
        tally_depths(wanted, depth, length, memory.scratch[:n], results.output)
        results.output[length + 1] += keep_marked(
            tables, memory, results, number, argument + length + 1, morsel, counters, wanted
        )
    least = 1 if is_report else length
    for row in range(n):
        mask[row] = np.uint8(np.int64(depth[row]) >= least)


@leaf
def tally_depths(wanted: U8, depth: U8, length: int, scratch: U8, output: I64) -> None:
    """Adds the wanted rows to the users at their depth; those that began and are not at the end stay wanted."""
    for each in range(length + 1):
        for row in range(wanted.shape[0]):
            scratch[row] = np.uint8(depth[row] == np.uint8(each)) & wanted[row]
        output[each] += count_ones(scratch)
    for row in range(wanted.shape[0]):
        wanted[row] &= np.uint8((depth[row] > np.uint8(0)) & (np.int64(depth[row]) < length))


@inlined
def trend_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    mask: U8,
) -> None:
    """Adds events and users of periods, see `tally_chunk`; mask[i] = row i has any."""
    latest, seen = memory.window[: mask.shape[0]], memory.days[: mask.shape[0]]
    latest[:] = np.uint32(0)
    seen[:] = np.uint64(0)
    want_population(tables.parts[number], morsel, mask)
    note_leaf(tables, results, number, argument, counters)
    walk_leaf(tables, memory, number, argument, TREND_LEAF, morsel, mask, False, latest, results.output, counters)
    for row in range(mask.shape[0]):
        mask[row] = np.uint8(latest[row] > np.uint32(0))


@inlined
def entry_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    mask: U8,
) -> None:
    """Finds the first entries of a retention; mask[i] = row i has one.

    `output` i64[2]: the earliest of them, and the latest.
    """
    entries = _entries_of(tables, results, number, morsel, mask.shape[0])
    entries[:] = NEVER
    want_population(tables.parts[number], morsel, mask)
    note_leaf(tables, results, number, argument, counters)
    walk_leaf(tables, memory, number, argument, ENTRY_LEAF, morsel, mask, False, memory.window, entries, counters)
    _bound_entries(entries, mask, results.output)


@inlined
def _entries_of(tables: Tables, results: Results, number: int, morsel: int, n: int) -> I64:
    start = tables.parts[number, PART_FIRST_ROW] + (morsel << MORSEL_BITS)
    return results.entries[start : start + n]


@leaf
def _bound_entries(entries: I64, mask: U8, output: I64) -> None:
    earliest, latest = output[0], output[1]
    for row in range(mask.shape[0]):
        entry = entries[row] if mask[row] else NEVER
        entries[row] = entry
        mask[row] = np.uint8(entry != NEVER)
        earliest = min(earliest, entry)
        latest = max(latest, entry if entry != NEVER else -NEVER)
    output[0], output[1] = earliest, latest


@inlined
def return_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    mask: U8,
) -> None:
    """Adds the users of cohorts and their returns, see `tally_cohorts`; mask[i] = row i entered."""
    n, leaf_row = mask.shape[0], tables.leaves[argument]
    entries, periods, days = _entries_of(tables, results, number, morsel, n), memory.periods[:n], memory.days[:n]
    for row in range(n):
        mask[row] = np.uint8(entries[row] != NEVER)
    rows = memory.rows[: list_rows(mask, memory.rows)]
    period_of_entries(leaf_row, rows, entries, periods)
    _begin_returns(tables.bounds[number, argument, BOUND_RETURNED], morsel, memory.days[:n])
    note_leaf(tables, results, number, argument, counters)
    walk_leaf(tables, memory, number, argument, RETURN_LEAF, morsel, mask, False, memory.window, entries, counters)
    tally_cohorts(leaf_row, rows, entries, periods, days, memory.chosen, results.output)


@leaf
def _begin_returns(address: int, morsel: int, days: U64) -> None:
    """days[row] = the first bit if the row returned at the instant of its entry."""
    days[:] = np.uint64(0)
    if address != 0:
        at_once = u8s(address + (morsel << MORSEL_BITS), days.shape[0])
        for row in range(days.shape[0]):
            days[row] = np.uint64(at_once[row])
