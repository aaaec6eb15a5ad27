"""Predicates over the events of a name: one walk over chunks and unsealed events, into a number per row.

The walk stands once, with a branch for each kind of leaf, because what it calls is compiled into each place that
calls it: once for all leaves takes a quarter of the time to compile.
"""

from __future__ import annotations

import numpy as np

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
from cdp_store.kernels.jit import inlined


@inlined
def event_leaf(
    leaf_row: I64,
    bound: I64,
    part: I64,
    filters: I64,
    tests: I64,
    morsel: int,
    masks: U8,
    scratch: U8,
    amounts: I64,
    window: U32,
    sums: I64,
    days: U64,
    asked: U8,
    is_narrow: bool,
    counters: I64,
    mask: U8,
) -> bool:
    """mask[i] = row i of the morsel satisfies the predicate; False if that takes exact sums of floats.

    With `is_narrow` that holds for the rows asked for, few of them; mask[i] means nothing for others.
    """
    kind, n = leaf_row[LEAF_KIND], mask.shape[0]
    scale = scale_of_sums(leaf_row, bound, part) if kind == SUM_LEAF else 0
    if scale == NO_SUM:
        return False
    window[:n] = np.uint32(0)
    if kind != COUNT_LEAF:
        sums[:n] = 0  # the same memory as `days`
    chunks = chunk_table(bound)
    for number in range(chunks.shape[0]):
        chunk = chunks[number]
        first, last = runs_of(chunk, morsel)
        if first == last or is_outside(leaf_row, chunk):
            continue
        run_rows, run_starts = run_arrays(chunk, last)
        if kind == COUNT_LEAF and filters.shape[0] == 0:
            # Reading all runs costs no more than finding those of some rows.
            counters[COUNT_EVENTS] += np.int64(run_starts[last]) - np.int64(run_starts[first])
            count_chunk(leaf_row, chunk, first, last, window)
            continue
        begin = first
        while begin < last:
            end = last
            if is_narrow:
                if not asked[run_rows[begin]]:
                    begin += 1
                    continue
                end = begin + 1
            start, stop = int(np.int64(run_starts[begin])), int(np.int64(run_starts[end]))
            passes = masks[0, : stop - start]
            others = mask_events(leaf_row, chunk, number, filters, tests, start, masks, scratch, passes)
            if kind == COUNT_LEAF:
                count_masked(run_rows, run_starts, begin, end, passes, window)
            elif kind == DAYS_LEAF:
                mark_days(leaf_row, chunk, begin, end, passes, days)
            else:
                others += add_chunk(bound, chunk, number, scale, begin, end, start, passes, scratch, amounts, sums)
            counters[COUNT_MISMATCH] += others
            counters[COUNT_EVENTS] += stop - start
            begin = end
    event = -1
    while True:
        event, row, time = next_unsealed(leaf_row, bound, part, filters, tests, morsel, event + 1)
        if event < 0:
            break
        if is_narrow and not asked[row]:
            continue
        counters[COUNT_EVENTS] += 1
        if kind == COUNT_LEAF:
            window[row] += np.uint32(1)
        elif kind == DAYS_LEAF:
            days[row] |= day_bit(leaf_row, time)
        else:
            sort, amount = unsealed_amount(bound, part, event)
            if sort == UNFIT or (sort == INTEGER and scale == SUM_SCALE) or (sort == DECIMAL and scale == NO_SCALE):
                return False
            if scale == ANY_SCALE and sort in (INTEGER, DECIMAL):
                scale = NO_SCALE if sort == INTEGER else SUM_SCALE
            sums[row] += amount
            counters[COUNT_MISMATCH] += int(sort == OTHER)
    return _compare(leaf_row, scale, window[:n], sums[:n], days[:n], mask)


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
