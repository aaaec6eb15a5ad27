"""Predicates over the events of a name: a number per row, from chunks and unsealed events, against bounds."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory
from cdp_query.compiled.kernels.chunk_walk import walk_chunks
from cdp_query.compiled.kernels.count_leaf import asks_for_any, compare_counts, compare_marks
from cdp_query.compiled.kernels.days_leaf import compare_days, day_bit
from cdp_query.compiled.kernels.event_walk import next_unsealed
from cdp_query.compiled.kernels.layout import (
    BOUND_CHUNK_COUNT,
    COUNT_EVENTS,
    COUNT_LEAF,
    COUNT_MISMATCH,
    DAYS_LEAF,
    LEAF_KIND,
    MARK_LEAF,
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
from cdp_store.arrays import I64, U8
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
    n, kind = mask.shape[0], leaf_row[LEAF_KIND]
    if kind == COUNT_LEAF and asks_for_any(leaf_row):
        kind = MARK_LEAF
    scale = scale_of_sums(leaf_row, bound, part) if kind == SUM_LEAF else ANY_SCALE
    if scale == NO_SUM:
        return False
    if kind == MARK_LEAF:
        memory.marks[:n] = np.uint8(0)
    elif kind == COUNT_LEAF:
        memory.window[:n] = np.uint32(0)
    else:
        memory.sums[:n] = 0  # the same memory as `days`
    walk_chunks(
        kind, leaf_row, bound, filters, tests, 0, bound[BOUND_CHUNK_COUNT], morsel, memory, memory.asked, 1, is_narrow,
        scale, memory.window, memory.sums, memory.offsets[0], counters,
    )  # fmt: skip
    scale = _walk_unsealed(kind, leaf_row, bound, part, filters, tests, morsel, memory, is_narrow, scale, counters)
    if scale == NO_SUM:
        return False
    return _compare(kind, leaf_row, scale, memory, mask)


@leaf
def _walk_unsealed(
    kind: int,
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
    event = -1
    while True:
        event, row, time = next_unsealed(leaf_row, bound, part, filters, tests, morsel, event + 1)
        if event < 0:
            break
        if is_narrow and not memory.asked[row]:
            continue
        counters[COUNT_EVENTS] += 1
        if kind == MARK_LEAF:
            memory.marks[row] = np.uint8(1)
        elif kind == COUNT_LEAF:
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
def _compare(kind: int, leaf_row: I64, scale: int, memory: Memory, mask: U8) -> bool:
    if kind == MARK_LEAF:
        compare_marks(leaf_row, memory.marks, mask)
    elif kind == COUNT_LEAF:
        compare_counts(leaf_row, memory.window, mask)
    elif kind == DAYS_LEAF:
        compare_days(leaf_row, memory.days, mask)
    else:
        return compare_sums(leaf_row, scale, memory.sums, mask)
    return True
