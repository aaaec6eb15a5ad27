"""The walk over the chunks of a leaf in one morsel: events of other rows and times are left out, the rest is handed on.

It stands once, with a branch for each kind of pass, because what it calls is compiled into each place that calls it:
once for all leaves takes a quarter of the time to compile.
"""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.count_leaf import count_chunk, count_masked
from cdp_query.compiled.kernels.days_leaf import mark_days
from cdp_query.compiled.kernels.event_walk import (
    chunk_table,
    is_covered,
    is_outside,
    mask_events,
    note_chunks,
    run_arrays,
    runs_of,
)
from cdp_query.compiled.kernels.gathering import fill_chunk
from cdp_query.compiled.kernels.layout import (
    CHUNK_LAST_MS,
    COUNT_EVENTS,
    COUNT_LEAF,
    COUNT_MISMATCH,
    DAYS_LEAF,
    ENTRY_LEAF,
    FILL_LEAF,
    LEAF_FILTER,
    LEAF_FILTER_END,
    RETURN_LEAF,
    SUM_LEAF,
    TREND_LEAF,
)
from cdp_query.compiled.kernels.retention_leaf import enter_chunk, return_chunk
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
    morsel: int,
    memory: Memory,
    asked: U8,
    is_narrow: bool,
    scale: int,
    window: U32,
    numbers: I64,
    counters: I64,
) -> None:
    """Hands the events of all chunks to a pass.

    `window` u32[rows] and `numbers` i64 are what a pass writes: counts; sums of `scale`; ends and times of gathered
    events; the newest period of a row, and events and users by period; times of entries, which returns read. With
    `is_narrow` only the rows `asked` for are walked.
    """
    chunks, no_mask, latest_ms = chunk_table(bound), memory.event_masks[0, :0], np.iinfo(np.int64).min
    for number in range(chunks.shape[0]):
        chunk = chunks[number]
        first, last = runs_of(chunk, morsel)
        if first == last or is_outside(leaf_row, chunk):
            continue
        before_ms, latest_ms = latest_ms, max(latest_ms, chunk[CHUNK_LAST_MS])
        run_rows, run_starts = run_arrays(chunk, last)
        is_plain = filters.shape[0] == 0 and is_covered(leaf_row, chunk)
        if is_plain and kind not in (DAYS_LEAF, SUM_LEAF):
            # Reading all runs costs no more than finding those of some rows.
            counters[COUNT_EVENTS] += (np.int64(run_starts[last]) - np.int64(run_starts[first])) * int(
                kind != FILL_LEAF
            )
            if kind == COUNT_LEAF:
                count_chunk(run_rows, run_starts, first, last, window)
            else:
                _hand_on(kind, leaf_row, chunk, first, last, no_mask, memory, asked, before_ms, window, numbers)
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
            passes = memory.event_masks[0, : stop - start]
            others = mask_events(
                leaf_row, chunk, number, filters, tests, start, memory.event_masks, memory.scratch, passes
            )
            if kind == COUNT_LEAF:
                count_masked(run_rows, run_starts, begin, end, passes, memory.running, window)
            elif kind == DAYS_LEAF:
                mark_days(leaf_row, chunk, begin, end, passes, memory.event_rows, memory.days)
            elif kind == SUM_LEAF:
                others += add_chunk(bound, chunk, number, scale, begin, end, start, passes, memory)
            else:
                _hand_on(kind, leaf_row, chunk, begin, end, passes, memory, asked, before_ms, window, numbers)
            # Events whose times are gathered have been counted before.
            counters[COUNT_MISMATCH] += others * int(kind != FILL_LEAF)
            counters[COUNT_EVENTS] += (stop - start) * int(kind != FILL_LEAF)
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
    latest_ms: int,
    window: U32,
    numbers: I64,
) -> None:
    """The passes that look at times; `passes` is empty if every event counts."""
    if kind == FILL_LEAF:
        fill_chunk(chunk, first, last, passes, asked, memory.runs, latest_ms, memory.late, window, numbers)
    elif kind == TREND_LEAF:
        tally_chunk(leaf_row, chunk, first, last, passes, asked, memory.event_rows, window, memory.days, numbers)
    elif kind == ENTRY_LEAF:
        enter_chunk(chunk, first, last, passes, numbers)
    elif kind == RETURN_LEAF:
        return_chunk(leaf_row, chunk, first, last, passes, memory.event_rows, numbers, memory.periods, memory.days)


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
    leaf_row = tables.leaves[own]
    filters = tables.filters[leaf_row[LEAF_FILTER] : leaf_row[LEAF_FILTER_END]]
    walk_chunks(
        kind, leaf_row, tables.bounds[number, own], filters, tables.tests[number], morsel, memory, wanted,
        is_narrow, ANY_SCALE, window, numbers, counters,
    )  # fmt: skip
