"""Conditions on attributes, over the dense columns of a morsel: of now, or of an instant in the past."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s
from cdp_query.compiled.kernels.arguments import Memory
from cdp_query.compiled.kernels.event_walk import chunk_table, last_until, run_arrays, runs_of
from cdp_query.compiled.kernels.filters import columns_at
from cdp_query.compiled.kernels.layout import (
    BLOCK_ROWS,
    BOUND_COLUMNS,
    BOUND_INSTANT,
    BOUND_OFFSETS,
    BOUND_SINCE,
    CHUNK_BASE_MS,
    CHUNK_FIRST_MS,
    COLUMN_BYTES,
    COLUMN_FIELDS,
    COUNT_BYTES,
    COUNT_CHUNKS,
    COUNT_MISMATCH,
    COUNT_ROWS,
    SINCE_FIELDS,
    TEST_COLUMNS,
    TEST_NEGATED,
    TEST_OFFSETS,
)
from cdp_query.compiled.kernels.text_search import is_searched, search_texts
from cdp_query.compiled.kernels.values import mark_holding, test_columns
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import inlined, leaf


@inlined
def attribute_leaf(bound: I64, test: I64, morsel: int, memory: Memory, counters: I64, mask: U8) -> None:
    """mask[i] = row i of the morsel satisfies the condition; of rows not asked for, if a text is searched, anything."""
    first, last = columns_at(test[TEST_OFFSETS], morsel)
    columns = i64s(test[TEST_COLUMNS], last * COLUMN_FIELDS).reshape((last, COLUMN_FIELDS))
    if is_searched(test):
        search_texts(columns, first, last, test, memory.asked[: mask.shape[0]], memory.window, counters)
    for start in range(0, mask.shape[0], BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, mask.shape[0])
        counters[COUNT_MISMATCH] += test_columns(columns, first, last, test, start, memory.scratch, mask[start:stop])
    if first < last:
        counters[COUNT_CHUNKS] += 1
        counters[COUNT_ROWS] += mask.shape[0]
    for number in range(first, last):
        counters[COUNT_BYTES] += columns[number, COLUMN_BYTES]
    if bound[BOUND_SINCE] != 0:
        _go_back(bound, test, morsel, memory, counters, mask)
    if test[TEST_NEGATED]:
        for i in range(mask.shape[0]):
            mask[i] ^= np.uint8(1)


@leaf
def _go_back(bound: I64, test: I64, morsel: int, memory: Memory, counters: I64, mask: U8) -> None:
    """Decides the rows whose current value is newer than the instant by the last one up to it."""
    n, instant_ms = mask.shape[0], bound[BOUND_INSTANT]
    since = i64s(bound[BOUND_SINCE] + 8 * SINCE_FIELDS * morsel, SINCE_FIELDS)
    holds, latest_ms = memory.asked[:n], memory.sums[:n]
    mark_holding(since, instant_ms, memory.event_masks[0, :n], holds)
    for i in range(n):
        mask[i] &= holds[i]
        latest_ms[i] = np.iinfo(np.int64).min
    chunks = chunk_table(bound)
    for number in range(chunks.shape[0]):
        chunk = chunks[number]
        first, last = runs_of(chunk, morsel)
        if first == last or chunk[CHUNK_FIRST_MS] > instant_ms:
            continue
        run_rows, run_starts = run_arrays(chunk, last)
        start, stop = int(np.int64(run_starts[first])), int(np.int64(run_starts[last]))
        passes, limit = memory.event_masks[0, : stop - start], instant_ms - chunk[CHUNK_BASE_MS]
        first_column, last_column = columns_at(bound[BOUND_OFFSETS], number)
        columns = i64s(bound[BOUND_COLUMNS], last_column * COLUMN_FIELDS).reshape((last_column, COLUMN_FIELDS))
        counters[COUNT_MISMATCH] += test_columns(
            columns, first_column, last_column, test, start, memory.scratch, passes
        )
        counters[COUNT_BYTES] += 6 * (last - first) + 8 * (stop - start)
        for run in range(first, last):
            row = run_rows[run]
            if holds[row]:
                continue
            at, time = last_until(chunk, int(np.int64(run_starts[run])), int(np.int64(run_starts[run + 1])), limit)
            # Chunks come in order of arrival: at one instant the later arrival is in force.
            if at >= 0 and time >= latest_ms[row]:
                latest_ms[row], mask[row] = time, passes[at - start]
