"""Predicates over the events of a name: one walk over chunks and unsealed events, into a number per row.

The walk stands once, with a branch for each kind of leaf, because what it calls is compiled into each place that
calls it: once for all leaves takes a quarter of the time to compile.
"""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory
from cdp_query.compiled.kernels.count_leaf import compare_counts, count_chunk, count_masked
from cdp_query.compiled.kernels.days_leaf import compare_days, day_bit, mark_days
from cdp_query.compiled.kernels.event_walk import (
    chunk_table,
    is_outside,
    mask_events,
    next_unsealed,
    run_arrays,
    runs_of,
)
from cdp_query.compiled.kernels.layout import (
    COUNT_EVENTS,
    COUNT_LEAF,
    COUNT_MISMATCH,
    DAYS_LEAF,
    LEAF_KIND,
    SUM_LEAF,
    SUM_SCALE,
)
from cdp_query.compiled.kernels.sum_leaf import (
    ANY_SCALE,
    DECIMAL,
    INTEGER,
    NO_SCALE,
    NO_SUM,
    OTHER,
    UNFIT,
    add_chunk,
    compare_sums,
    scale_of_sums,
    unsealed_amount,
)
from cdp_store.arrays import I64, U8, U32, U64
from cdp_store.kernels.jit import inlined, leaf


@inlined
def event_leaf(
    leaf_row: I64,
    bound: I64,
    part: I64,
    filters: I64,
    tests: I64,
    morsel: int,
    memory: Memory,
    is_narrow: bool,
    counters: I64,
    mask: U8,
) -> bool:
    """mask[i] = row i of the morsel satisfies the predicate; False if that takes exact sums of floats.

    With `is_narrow` that holds for the rows asked for, few of them; mask[i] means nothing for others.
    """
    n = mask.shape[0]
    scale = scale_of_sums(leaf_row, bound, part) if leaf_row[LEAF_KIND] == SUM_LEAF else ANY_SCALE
    if scale == NO_SUM:
        return False
    memory.window[:n] = np.uint32(0)
    if leaf_row[LEAF_KIND] != COUNT_LEAF:
        memory.sums[:n] = 0  # the same memory as `days`
    _walk_chunks(leaf_row, bound, filters, tests, morsel, memory, is_narrow, scale, counters)
    scale = _walk_unsealed(leaf_row, bound, part, filters, tests, morsel, memory, is_narrow, scale, counters)
    if scale == NO_SUM:
        return False
    return _compare(leaf_row, scale, memory.window[:n], memory.sums[:n], memory.days[:n], mask)


@leaf
def _walk_chunks(
    leaf_row: I64,
    bound: I64,
    filters: I64,
    tests: I64,
    morsel: int,
    memory: Memory,
    is_narrow: bool,
    scale: int,
    counters: I64,
) -> None:
    """Adds the events of all chunks to the numbers of their rows."""
    kind, chunks = leaf_row[LEAF_KIND], chunk_table(bound)
    for number in range(chunks.shape[0]):
        chunk = chunks[number]
        first, last = runs_of(chunk, morsel)
        if first == last or is_outside(leaf_row, chunk):
            continue
        run_rows, run_starts = run_arrays(chunk, last)
        if kind == COUNT_LEAF and filters.shape[0] == 0:
            # Reading all runs costs no more than finding those of some rows.
            counters[COUNT_EVENTS] += np.int64(run_starts[last]) - np.int64(run_starts[first])
            count_chunk(leaf_row, chunk, first, last, memory.window)
            continue
        begin = first
        while begin < last:
            end = last
            if is_narrow:
                if not memory.asked[run_rows[begin]]:
                    begin += 1
                    continue
                end = begin + 1
            start, stop = int(np.int64(run_starts[begin])), int(np.int64(run_starts[end]))
            passes = memory.event_masks[0, : stop - start]
            others = mask_events(
                leaf_row, chunk, number, filters, tests, start, memory.event_masks, memory.scratch, passes
            )
            if kind == COUNT_LEAF:
                count_masked(run_rows, run_starts, begin, end, passes, memory.window)
            elif kind == DAYS_LEAF:
                mark_days(leaf_row, chunk, begin, end, passes, memory.days)
            else:
                others += add_chunk(bound, chunk, number, scale, begin, end, start, passes, memory)
            counters[COUNT_MISMATCH] += others
            counters[COUNT_EVENTS] += stop - start
            begin = end


@leaf
def _walk_unsealed(
    leaf_row: I64,
    bound: I64,
    part: I64,
    filters: I64,
    tests: I64,
    morsel: int,
    memory: Memory,
    is_narrow: bool,
    scale: int,
    counters: I64,
) -> int:
    """Adds the unsealed events; returns the scale of sums, NO_SUM if there is none for all of their numbers."""
    kind, event = leaf_row[LEAF_KIND], -1
    while True:
        event, row, time = next_unsealed(leaf_row, bound, part, filters, tests, morsel, event + 1)
        if event < 0:
            break
        if is_narrow and not memory.asked[row]:
            continue
        counters[COUNT_EVENTS] += 1
        if kind == COUNT_LEAF:
            memory.window[row] += np.uint32(1)
        elif kind == DAYS_LEAF:
            memory.days[row] |= day_bit(leaf_row, time)
        else:
            sort, amount = unsealed_amount(bound, part, event)
            if sort == UNFIT or (sort == INTEGER and scale == SUM_SCALE) or (sort == DECIMAL and scale == NO_SCALE):
                return NO_SUM
            if scale == ANY_SCALE and sort in (INTEGER, DECIMAL):
                scale = NO_SCALE if sort == INTEGER else SUM_SCALE
            memory.sums[row] += amount
            counters[COUNT_MISMATCH] += int(sort == OTHER)
    return scale


@inlined
def _compare(leaf_row: I64, scale: int, window: U32, sums: I64, days: U64, mask: U8) -> bool:
    kind = leaf_row[LEAF_KIND]
    if kind == COUNT_LEAF:
        compare_counts(leaf_row, window, mask)
    elif kind == DAYS_LEAF:
        compare_days(leaf_row, days, mask)
    else:
        return compare_sums(leaf_row, scale, sums, mask)
    return True
