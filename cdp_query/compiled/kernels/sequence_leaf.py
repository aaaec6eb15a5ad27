"""Depth that each user reached along steps in order, of which no event can fill two.

Steps are counted first: a row that lacks one that it needs is left out of all that follows. Of the rows that are left,
the times of one step after the other are gathered and compared with those of the step before. Of these, only events
count that give an attempt a later start than every earlier one (semantics.md, section 4).
"""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.chunk_walk import note_leaf, walk_leaf
from cdp_query.compiled.kernels.following import BLOCKS, block_offsets, count_earlier, keep_followers, mark_rows
from cdp_query.compiled.kernels.gathering import lay_out, list_rows, put_in_order
from cdp_query.compiled.kernels.layout import (
    BOUND_EVENTS,
    COUNT_LEAF,
    FEW,
    FILL_LEAF,
    LEAF_REPORTS,
    LEAF_STEPS,
    LEAF_STRICT,
    LEAF_WITHIN,
)
from cdp_query.compiled.kernels.values import copy_mask, count_ones
from cdp_store.arrays import I64, U8, U32
from cdp_store.kernels.jit import inlined, leaf


@inlined
def sequence_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    wanted: U8,
    depth: U8,
) -> None:
    """depth[i] = most steps that any attempt of row i completed, of the rows that are wanted; `wanted` is used up.

    A segment asks about the last step only: there the depth of a row that lacks a step may be too small.
    """
    leaf_row, n = tables.leaves[argument], wanted.shape[0]
    length, is_report = leaf_row[LEAF_STEPS], leaf_row[LEAF_REPORTS] != 0
    depth[:] = np.uint8(0)
    left = _count_steps(tables, memory, results, number, argument, morsel, counters, wanted, depth)
    offsets = np.empty((2, BLOCKS + 1), np.int64)
    past = np.empty(0, np.int64)
    past_starts = past
    for step in range(length):
        if is_report and step > 1:
            left = count_wanted(tables, memory, results, number, argument + 1 + step, step, morsel, counters, wanted)
        if left == 0:
            break
        found = list_rows(wanted, memory.rows)
        rows, begins, ends = memory.rows[:found], memory.begins, memory.ends
        events = np.empty(lay_out(rows, memory.windows[step], begins, ends), np.int64)
        is_narrow, memory.late[0] = found * FEW <= n, np.uint32(0)
        walk_leaf(
            tables, memory, number, argument + 1 + step, FILL_LEAF, morsel, wanted, is_narrow, ends, events, counters
        )
        put_in_order(rows, begins, ends, events, memory.late)
        own, before = offsets[step & 1], offsets[1 - (step & 1)]
        block_offsets(rows, begins, events.shape[0], own)
        if step == 0:
            past, past_starts = events, events
            _mark_first(rows, depth)
        else:
            starts, earlier = np.empty(events.shape[0], np.int64), np.empty(events.shape[0], np.uint32)
            count_earlier(past, before, events, own, int(leaf_row[LEAF_STRICT] == 0), earlier)
            keep_followers(past_starts, before, events, starts, own, earlier, leaf_row[LEAF_WITHIN])
            mark_rows(events, own, step + 1, wanted, depth)
            left, past, past_starts = count_ones(wanted), events, starts


@inlined
def _count_steps(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    wanted: U8,
    depth: U8,
) -> int:
    """Counts the events of the steps that each row needs; returns the number of rows that have all of them.

    A segment needs all steps, and those of the fewest events come first. A funnel needs the first two, to go on.
    """
    leaf_row, bounds = tables.leaves[argument], tables.bounds[number, argument + 1 :]
    length, is_report = leaf_row[LEAF_STEPS], leaf_row[LEAF_REPORTS] != 0
    needed, counted, left = (min(length, 2) if is_report else length), np.uint64(0), 1
    for place in range(needed):
        step = place
        if not is_report:
            step = -1
            for other in range(length):
                is_counted = ((counted >> np.uint64(other)) & np.uint64(1)) != np.uint64(0)
                if not is_counted and (step < 0 or bounds[other, BOUND_EVENTS] < bounds[step, BOUND_EVENTS]):
                    step = other
        counted |= np.uint64(1) << np.uint64(step)
        left = count_wanted(tables, memory, results, number, argument + 1 + step, step, morsel, counters, wanted)
        if is_report and step == 0:
            copy_mask(wanted, depth)
        if left == 0:
            break
    return left


@leaf
def count_wanted(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    own: int,
    side: int,
    morsel: int,
    counters: I64,
    wanted: U8,
) -> int:
    """memory.windows[side, row] = events of a leaf; rows without any are wanted no more. Returns how many are left."""
    counts, left = memory.windows[side], count_ones(wanted)
    counts[: wanted.shape[0]] = np.uint32(0)
    note_leaf(tables, results, number, own, counters)
    is_narrow = left * FEW <= wanted.shape[0]
    walk_leaf(tables, memory, number, own, COUNT_LEAF, morsel, wanted, is_narrow, counts, memory.sums, counters)
    for row in range(wanted.shape[0]):
        wanted[row] &= np.uint8(counts[row] > np.uint32(0))
    return count_ones(wanted)


@leaf
def _mark_first(rows: U32, depth: U8) -> None:
    for i in range(rows.shape[0]):
        depth[rows[i]] = np.uint8(1)
