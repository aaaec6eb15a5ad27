"""The walk over the chunks of a leaf in one morsel: events of other rows and times are left out, the rest is handed on.

It stands once, with a branch for each kind of pass, because what it calls is compiled into each place that calls it:
once for all leaves takes a quarter of the time to compile.
"""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.count_leaf import count_chunk, count_masked, mark_chunk, mark_cut, mark_masked
from cdp_query.compiled.kernels.days_leaf import mark_days
from cdp_query.compiled.kernels.event_walk import (
    chunk_table,
    is_covered,
    is_cut_once,
    is_outside,
    mask_events,
    note_chunks,
    run_arrays,
    runs_of,
)
from cdp_query.compiled.kernels.layout import (
    BOUND_CHUNK_COUNT,
    COUNT_EVENTS,
    COUNT_LEAF,
    COUNT_MISMATCH,
    DAYS_LEAF,
    ENTRY_LEAF,
    LEAF_FILTER,
    LEAF_FILTER_END,
    LIST_LEAF,
    MARK_LEAF,
    RETURN_LEAF,
    SUM_LEAF,
    TREND_LEAF,
)
from cdp_query.compiled.kernels.retention_leaf import enter_chunk, return_chunk
from cdp_query.compiled.kernels.step_events import append_events
from cdp_query.compiled.kernels.sum_leaf import ANY_SCALE, add_chunk
from cdp_query.compiled.kernels.trend_leaf import tally_chunk
from cdp_store.arrays import I64, U8, U32
from cdp_store.kernels.jit import inlined, leaf


@leaf
def walk_chunks(
    kind: int,
    leaf_row: I64,
    bound: I64,
    filters: I64,
    tests: I64,
    first_chunk: int,
    last_chunk: int,
    morsel: int,
    memory: Memory,
    asked: U8,
    least: int,
    is_narrow: bool,
    scale: int,
    window: U32,
    numbers: I64,
    offsets: I64,
    counters: I64,
) -> None:
    """Hands the events of the chunks first_chunk:last_chunk to a pass.

    `window` u32[rows] and `numbers` i64 are what a pass writes: counts; sums of `scale`; a list of events with its
    `offsets`; the newest period of a row, and events and users by period; times of entries, which returns read. With
    `is_narrow` only the rows asked for are walked: those with asked[row] >= least.
    """
    chunks, no_mask = chunk_table(bound), memory.event_masks[0, :0]
    for number in range(first_chunk, last_chunk):
        chunk = chunks[number]
        first, last = runs_of(chunk, morsel)
        if first == last or is_outside(leaf_row, chunk):
            continue
        run_rows, run_starts = run_arrays(chunk, last)
        is_plain = filters.shape[0] == 0 and is_covered(leaf_row, chunk)
        if is_plain and kind not in (DAYS_LEAF, SUM_LEAF):
            # Reading all runs costs no more than finding those of some rows.
            counters[COUNT_EVENTS] += np.int64(run_starts[last]) - np.int64(run_starts[first])
            if kind == COUNT_LEAF:
                count_chunk(run_rows, run_starts, first, last, window)
            elif kind == MARK_LEAF:
                mark_chunk(run_rows, first, last, memory.marks)
            else:
                _hand_on(kind, leaf_row, chunk, first, last, no_mask, memory, asked, least, window, numbers, offsets)
            continue
        if kind == MARK_LEAF and filters.shape[0] == 0 and is_cut_once(leaf_row, chunk):
            counters[COUNT_EVENTS] += np.int64(run_starts[last]) - np.int64(run_starts[first])
            mark_cut(leaf_row, chunk, first, last, memory.marks)
            continue
        _walk_masked(
            kind, leaf_row, bound, filters, tests, number, chunk, first, last, memory, asked, least, is_narrow, scale,
            window, numbers, offsets, counters,
        )  # fmt: skip


@inlined
def _walk_masked(
    kind: int,
    leaf_row: I64,
    bound: I64,
    filters: I64,
    tests: I64,
    number: int,
    chunk: I64,
    first: int,
    last: int,
    memory: Memory,
    asked: U8,
    least: int,
    is_narrow: bool,
    scale: int,
    window: U32,
    numbers: I64,
    offsets: I64,
    counters: I64,
) -> None:
    """Hands the events of the runs first:last on that pass the filter in the interval (see `walk_chunks`)."""
    run_rows, run_starts = run_arrays(chunk, last)
    begin = first
    while begin < last:
        end = last
        if is_narrow:
            if np.int64(asked[run_rows[begin]]) < least:
                begin += 1
                continue
            end = begin + 1
        start, stop = int(np.int64(run_starts[begin])), int(np.int64(run_starts[end]))
        passes = memory.event_masks[0, : stop - start]
        others = mask_events(leaf_row, chunk, number, filters, tests, start, memory.event_masks, memory.scratch, passes)
        if kind == COUNT_LEAF:
            count_masked(run_rows, run_starts, begin, end, passes, memory.running, window)
        elif kind == MARK_LEAF:
            mark_masked(run_rows, run_starts, begin, end, passes, memory.running, memory.marks)
        elif kind == DAYS_LEAF:
            mark_days(leaf_row, chunk, begin, end, passes, memory.event_rows, memory.event_periods, memory.days)
        elif kind == SUM_LEAF:
            others += add_chunk(bound, chunk, number, scale, begin, end, start, passes, memory)
        else:
            _hand_on(kind, leaf_row, chunk, begin, end, passes, memory, asked, least, window, numbers, offsets)
        counters[COUNT_MISMATCH] += others
        counters[COUNT_EVENTS] += stop - start
        begin = end


@leaf
def _hand_on(
    kind: int,
    leaf_row: I64,
    chunk: I64,
    first: int,
    last: int,
    passes: U8,
    memory: Memory,
    asked: U8,
    least: int,
    window: U32,
    numbers: I64,
    offsets: I64,
) -> None:
    """The passes that look at times; `passes` is empty if every event counts."""
    if kind == LIST_LEAF:
        append_events(
            chunk, first, last, passes, memory.scratch, asked, least, memory.chosen, memory.level, numbers, offsets
        )
    elif kind == TREND_LEAF:
        tally_chunk(
            leaf_row, chunk, first, last, passes, asked, memory.event_rows, memory.event_periods, window, memory.days,
            numbers,
        )  # fmt: skip
    elif kind == ENTRY_LEAF:
        enter_chunk(chunk, first, last, passes, memory.event_rows, numbers)
    elif kind == RETURN_LEAF:
        return_chunk(
            leaf_row, chunk, first, last, passes, memory.event_rows, numbers, memory.periods, memory.event_periods,
            memory.days,
        )  # fmt: skip


@leaf
def note_leaf(tables: Tables, results: Results, number: int, own: int, counters: I64) -> None:
    """Counts the chunks that a leaf reads in a partition, once."""
    if not results.noted[number, own]:
        results.noted[number, own] = np.uint8(1)
        leaf_row = tables.leaves[own]
        filters = tables.filters[leaf_row[LEAF_FILTER] : leaf_row[LEAF_FILTER_END]]
        note_chunks(leaf_row, tables.bounds[number, own], filters, tables.tests[number], counters)


@inlined
def walk_leaf(
    tables: Tables,
    memory: Memory,
    number: int,
    own: int,
    kind: int,
    morsel: int,
    wanted: U8,
    is_narrow: bool,
    window: U32,
    numbers: I64,
    counters: I64,
) -> None:
    """Hands the events of a leaf in one partition to a pass (see `walk_chunks`)."""
    leaf_row, bound = tables.leaves[own], tables.bounds[number, own]
    filters = tables.filters[leaf_row[LEAF_FILTER] : leaf_row[LEAF_FILTER_END]]
    walk_chunks(
        kind, leaf_row, bound, filters, tables.tests[number], 0, bound[BOUND_CHUNK_COUNT], morsel, memory, wanted, 1,
        is_narrow, ANY_SCALE, window, numbers, memory.offsets[0], counters,
    )  # fmt: skip


@leaf
def list_chunk(
    tables: Tables,
    memory: Memory,
    number: int,
    own: int,
    morsel: int,
    chunk: int,
    asked: U8,
    least: int,
    is_narrow: bool,
    numbers: I64,
    offsets: I64,
    counters: I64,
) -> None:
    """Appends the events of one chunk of a leaf to a list (see `append_events`)."""
    leaf_row, bound = tables.leaves[own], tables.bounds[number, own]
    filters = tables.filters[leaf_row[LEAF_FILTER] : leaf_row[LEAF_FILTER_END]]
    walk_chunks(
        LIST_LEAF, leaf_row, bound, filters, tables.tests[number], chunk, chunk + 1, morsel, memory, asked, least,
        is_narrow, ANY_SCALE, memory.window, numbers, offsets, counters,
    )  # fmt: skip
