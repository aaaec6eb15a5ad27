"""Depth that each user reached along steps in order, of which no event can fill two.

Steps are counted first: a row that lacks one that it needs is left out of all that follows. Of the rows that are left,
the times of one step after the other are gathered and compared with those of the step before. Of these, only events
count that give an attempt a later start than every earlier one (semantics.md, section 4).
"""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.chunk_walk import note_leaf, walk_leaf
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

_NEVER = -(1 << 62)


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
    times = np.empty(0, np.int64)
    starts = times
    for step in range(length):
        if is_report and step > 1:
            left = count_wanted(tables, memory, results, number, argument + 1 + step, step, morsel, counters, wanted)
        if left == 0:
            break
        begins, ends, counts = memory.begins[step & 1], memory.ends[step & 1], memory.windows[step]
        found = list_rows(wanted, memory.rows)
        rows = memory.rows[:found]
        own = np.empty(lay_out(rows, counts, begins, ends), np.int64)
        is_narrow, memory.late[0] = found * FEW <= n, np.uint32(0)
        walk_leaf(
            tables, memory, number, argument + 1 + step, FILL_LEAF, morsel, wanted, is_narrow, ends, own, counters
        )
        put_in_order(rows, begins, ends, own, memory.late)
        if step == 0:
            times, starts = own, own
            _mark_first(rows, depth)
        else:
            own_starts = np.empty(own.shape[0], np.int64)
            left = _follow(
                leaf_row, rows, memory.begins[1 - (step & 1)], memory.ends[1 - (step & 1)], times, starts,
                begins, ends, own, own_starts, memory.runs, wanted, depth,
            )  # fmt: skip
            times, starts = own, own_starts


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


@leaf
def _follow(
    leaf_row: I64,
    rows: U32,
    past_begins: U32,
    past_ends: U32,
    past_times: I64,
    past_starts: I64,
    begins: U32,
    ends: U32,
    times: I64,
    starts: I64,
    chosen: U32,
    wanted: U8,
    depth: U8,
) -> int:
    """Keeps of each row's events those that complete a step, with the latest start of such an attempt.

    `past_times` and `past_starts` are those of the step before, `chosen` u32[rows] is working memory. Returns the rows
    that completed the step; the others are wanted no more.
    """
    within, loose, left, found = leaf_row[LEAF_WITHIN], int(leaf_row[LEAF_STRICT] == 0), 0, np.uint64(0)
    # Listed first, without a branch for each: which rows can complete the step cannot be predicted.
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        last, first = times[np.uint64(ends[row]) - np.uint64(1)], times[begins[row]]
        # The latest start comes last, and a later event leaves it less time.
        past_last = past_starts[np.uint64(past_ends[row]) - np.uint64(1)]
        is_late = (within >= 0) & (first - past_last > within)
        chosen[found] = row
        wanted[row] = np.uint8((past_times[past_begins[row]] < last + loose) & ~is_late)
        found += np.uint64(wanted[row])
    for number in range(found):
        row = chosen[number]
        past, past_end = np.uint64(past_begins[row]), np.uint64(past_ends[row])
        begin, end, latest, start = np.uint64(begins[row]), np.uint64(ends[row]), _NEVER, _NEVER
        kept = begin
        for i in range(begin, end):
            now = times[i]
            # Times are integers: `< now + 1` is `<= now`, so that one comparison serves both kinds of ties.
            while past < past_end and past_times[past] < now + loose:
                start = past_starts[past]
                past += np.uint64(1)
            if start > latest and (within < 0 or now - start <= within):
                times[kept] = now
                starts[kept] = start
                kept += np.uint64(1)
                latest = start
            elif past == past_end:
                break  # no later start is left: the other events change nothing
        ends[row] = np.uint32(kept)
        wanted[row] = np.uint8(kept > begin)
        depth[row] += wanted[row]
        left += int(np.int64(wanted[row]))
    return left
