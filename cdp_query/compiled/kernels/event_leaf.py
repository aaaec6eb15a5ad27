"""Predicates over the events of a name: a number per row, from chunks and unsealed events, against bounds."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory
from cdp_query.compiled.kernels.chunk_walk import walk_chunks
from cdp_query.compiled.kernels.count_leaf import compare_counts
from cdp_query.compiled.kernels.days_leaf import compare_days, day_bit
from cdp_query.compiled.kernels.event_walk import next_unsealed
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
    if leaf_row[LEAF_KIND] == COUNT_LEAF:
        memory.window[:n] = np.uint32(0)
    else:
        memory.sums[:n] = 0  # the same memory as `days`
    walk_chunks(
        leaf_row[LEAF_KIND], leaf_row, bound, filters, tests, morsel, memory, memory.asked, is_narrow, scale,
        memory.window, memory.sums, counters,
    )  # fmt: skip
    scale = _walk_unsealed(leaf_row, bound, part, filters, tests, morsel, memory, is_narrow, scale, counters)
    if scale == NO_SUM:
        return False
    return _compare(leaf_row, scale, memory.window[:n], memory.sums[:n], memory.days[:n], mask)


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
