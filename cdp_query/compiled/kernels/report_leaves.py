"""Leaves of reports: what the rows of one morsel add to the numbers of an answer."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import u8s
from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.layout import (
    BOUND_RETURNED,
    ENTRY_LEAF,
    LEAF_STEPS,
    PART_FIRST_ROW,
    PART_POPULATION,
    RETURN_LEAF,
    TREND_LEAF,
)
from cdp_query.compiled.kernels.retention_leaf import NEVER, period_of_entries, tally_cohorts
from cdp_query.compiled.kernels.sequence_leaf import count_wanted, note, sequence_leaf, walk
from cdp_query.compiled.kernels.values import copy_mask
from cdp_store.arrays import I64, U8, U64
from cdp_store.kernels.jit import inlined, leaf

_MORSEL_BITS = 16


@leaf
def want_population(part: I64, morsel: int, wanted: U8) -> None:
    """wanted[i] = row i of the morsel is in the population."""
    if part[PART_POPULATION] == 0:
        wanted[:] = np.uint8(1)
    else:
        copy_mask(u8s(part[PART_POPULATION] + (morsel << _MORSEL_BITS), wanted.shape[0]), wanted)


@inlined
def funnel_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    mask: U8,
) -> None:
    """Adds users by the steps they completed, and those that may complete more; mask[i] = row i completed any.

    `output` i64[steps + 2]: users at each depth from 0 on, then the users with a recent entry that are not at the end.
    """
    n, length = mask.shape[0], tables.leaves[argument, LEAF_STEPS]
    wanted, depth = memory.wanted[:n], memory.depth[:n]
    want_population(tables.parts[number], morsel, wanted)
    sequence_leaf(tables, memory, results, number, argument, morsel, counters, wanted, depth)
    want_population(tables.parts[number], morsel, wanted)
    _tally_depths(wanted, depth, results.output, mask)
    _want_unfinished(depth, length, wanted)
    results.output[length + 1] += count_wanted(
        tables, memory, results, number, argument + length + 1, 0, morsel, counters, wanted
    )


@leaf
def _tally_depths(counted: U8, depth: U8, output: I64, mask: U8) -> None:
    for row in range(mask.shape[0]):
        output[depth[row]] += np.int64(counted[row])
        mask[row] = np.uint8(depth[row] > np.uint8(0))


@leaf
def _want_unfinished(depth: U8, length: int, wanted: U8) -> None:
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
    note(tables, results, number, argument, counters)
    walk(tables, memory, number, argument, TREND_LEAF, morsel, mask, False, latest, results.output, counters)
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
    note(tables, results, number, argument, counters)
    walk(tables, memory, number, argument, ENTRY_LEAF, morsel, mask, False, memory.window, entries, counters)
    _bound_entries(entries, mask, results.output)


@inlined
def _entries_of(tables: Tables, results: Results, number: int, morsel: int, n: int) -> I64:
    start = tables.parts[number, PART_FIRST_ROW] + (morsel << _MORSEL_BITS)
    return results.entries[start : start + n]


@leaf
def _bound_entries(entries: I64, mask: U8, output: I64) -> None:
    for row in range(mask.shape[0]):
        if not mask[row]:
            entries[row] = NEVER
        mask[row] = np.uint8(entries[row] != NEVER)
        if mask[row]:
            output[0] = min(output[0], entries[row])
            output[1] = max(output[1], entries[row])


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
    period_of_entries(leaf_row, entries, periods)
    _begin_returns(tables.bounds[number, argument, BOUND_RETURNED], morsel, memory.days[:n])
    note(tables, results, number, argument, counters)
    walk(tables, memory, number, argument, RETURN_LEAF, morsel, mask, False, memory.window, entries, counters)
    tally_cohorts(leaf_row, entries, periods, days, results.output)
    for row in range(n):
        mask[row] = np.uint8(entries[row] != NEVER)


@leaf
def _begin_returns(address: int, morsel: int, days: U64) -> None:
    """days[row] = the first bit if the row returned at the instant of its entry."""
    days[:] = np.uint64(0)
    if address != 0:
        at_once = u8s(address + (morsel << _MORSEL_BITS), days.shape[0])
        for row in range(days.shape[0]):
            days[row] = np.uint64(at_once[row])
