"""Chunks, runs and unsealed events that a predicate reads in one morsel: the part that all such predicates share."""

from __future__ import annotations

from typing import Any

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u16s, u32s
from cdp_query.compiled.kernels.filters import bytes_filtered, bytes_of_columns, filter_events, passes_filter
from cdp_query.compiled.kernels.layout import (
    BOUND_CHUNK_COUNT,
    BOUND_CHUNKS,
    BOUND_COLUMNS,
    BOUND_NAME_COUNT,
    BOUND_NAMES,
    BOUND_OFFSETS,
    CHUNK_BASE_MS,
    CHUNK_FIELDS,
    CHUNK_FIRST_MS,
    CHUNK_INDEX_BYTES,
    CHUNK_IS_WIDE,
    CHUNK_LAST_MS,
    CHUNK_MORSELS,
    CHUNK_RUN_OFFSETS,
    CHUNK_RUN_ROWS,
    CHUNK_RUN_STARTS,
    CHUNK_TIME_BYTES,
    CHUNK_TIMES,
    COUNT_BYTES,
    COUNT_CHUNKS,
    COUNT_PRUNED,
    LEAF_FIRST_MS,
    LEAF_LAST_MS,
    PART_DELTA,
    PART_DELTA_NAMES,
    PART_DELTA_ROWS,
    PART_DELTA_TIMES,
)
from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.kernels.jit import inlined, leaf

_U32_MAX = (1 << 32) - 1


@inlined
def chunk_table(bound: I64) -> I64:
    """The chunks of a predicate in one partition: i64[chunks, CHUNK_FIELDS]."""
    count = bound[BOUND_CHUNK_COUNT]
    return i64s(bound[BOUND_CHUNKS], count * CHUNK_FIELDS).reshape((count, CHUNK_FIELDS))


@leaf
def is_outside(leaf_row: I64, chunk: I64) -> bool:
    """True if no event of a chunk lies in the interval."""
    return bool(chunk[CHUNK_LAST_MS] < leaf_row[LEAF_FIRST_MS] or chunk[CHUNK_FIRST_MS] > leaf_row[LEAF_LAST_MS])


@leaf
def is_covered(leaf_row: I64, chunk: I64) -> bool:
    """True if every event of a chunk lies in the interval."""
    return bool(leaf_row[LEAF_FIRST_MS] <= chunk[CHUNK_FIRST_MS] and chunk[CHUNK_LAST_MS] <= leaf_row[LEAF_LAST_MS])


@leaf
def is_cut_once(leaf_row: I64, chunk: I64) -> bool:
    """True if the interval begins or ends inside of a chunk that it touches, not both."""
    begins, ends = leaf_row[LEAF_FIRST_MS] > chunk[CHUNK_FIRST_MS], leaf_row[LEAF_LAST_MS] < chunk[CHUNK_LAST_MS]
    return bool(begins != ends)


@leaf
def runs_of(chunk: I64, morsel: int) -> tuple[int, int]:
    """(first, last) run of a chunk in a morsel."""
    if morsel >= chunk[CHUNK_MORSELS]:
        return 0, 0
    offsets = i64s(chunk[CHUNK_RUN_OFFSETS], morsel + 2)
    return offsets[morsel], offsets[morsel + 1]


@inlined
def run_arrays(chunk: I64, last: int) -> tuple[U16, U32]:
    """(run_rows, run_starts) of a chunk up to run `last`."""
    return u16s(chunk[CHUNK_RUN_ROWS], last), u32s(chunk[CHUNK_RUN_STARTS], last + 1)


@leaf
def last_until(chunk: I64, start: int, stop: int, limit: int) -> tuple[int, int]:
    """(place, time in ms) of the last of events start:stop, a run's, up to base + limit; -1 if there is none."""
    at, time = stop - 1, 0
    while at >= start:
        if chunk[CHUNK_IS_WIDE]:
            time = i64s(chunk[CHUNK_TIMES], stop)[at]
        else:
            time = int(np.int64(u32s(chunk[CHUNK_TIMES], stop)[at]))
        if time <= limit:
            return at, time + chunk[CHUNK_BASE_MS]
        at -= 1
    return -1, 0


@leaf
def note_chunks(leaf_row: I64, bound: I64, filters: I64, tests: I64, counters: I64) -> None:
    """Counts the chunks and bytes that a predicate reads in one partition."""
    chunks = chunk_table(bound)
    for number in range(chunks.shape[0]):
        chunk = chunks[number]
        counters[COUNT_CHUNKS] += 1
        if is_outside(leaf_row, chunk):
            counters[COUNT_PRUNED] += 1
            continue
        counters[COUNT_BYTES] += chunk[CHUNK_INDEX_BYTES] + bytes_filtered(filters, tests, number)
        counters[COUNT_BYTES] += bytes_of_columns(bound[BOUND_OFFSETS], bound[BOUND_COLUMNS], number)
        if not is_covered(leaf_row, chunk):
            counters[COUNT_BYTES] += chunk[CHUNK_TIME_BYTES]


@leaf
def next_unsealed(
    leaf_row: I64, bound: I64, part: I64, filters: I64, tests: I64, morsel: int, event: int
) -> tuple[int, int, int]:
    """(event, its row in the morsel, its time) of the next unsealed event from `event` on that counts; -1 if none."""
    count = part[PART_DELTA]
    rows, all_names = u32s(part[PART_DELTA_ROWS], count), u16s(part[PART_DELTA_NAMES], count)
    times, names = i64s(part[PART_DELTA_TIMES], count), u16s(bound[BOUND_NAMES], bound[BOUND_NAME_COUNT])
    first_ms, last_ms = leaf_row[LEAF_FIRST_MS], leaf_row[LEAF_LAST_MS]
    while event < count:
        is_named = False
        for each in range(names.shape[0]):
            is_named |= all_names[event] == names[each]
        is_here = is_named and rows[event] >> np.uint32(16) == morsel and first_ms <= times[event] <= last_ms
        if is_here and (filters.shape[0] == 0 or passes_filter(filters, tests, part, event)):
            return event, int(np.int64(rows[event] & np.uint32(0xFFFF))), times[event]
        event += 1
    return -1, 0, 0


@leaf
def _cut(times: AnyArray, low: Any, high: Any, passes: U8) -> None:
    """The bounds have the type of the times: wide registers."""
    for i in range(passes.shape[0]):
        passes[i] &= (times[i] >= low) & (times[i] <= high)


@leaf
def _cut_narrow(address: int, low: int, high: int, passes: U8) -> None:
    if low > high or low > _U32_MAX or high < 0:
        passes[:] = np.uint8(0)
    else:
        _cut(u32s(address, passes.shape[0]), np.uint32(max(low, 0)), np.uint32(min(high, _U32_MAX)), passes)


@inlined
def mask_events(
    leaf_row: I64, chunk: I64, number: int, filters: I64, tests: I64, start: int, masks: U8, scratch: U8, passes: U8
) -> int:
    """passes[i] = event start + i of a chunk passes the filter, in the interval; returns values of other types.

    `passes` is the first of `masks`, as long as the events wanted.
    """
    others = 0
    if filters.shape[0] == 0:
        passes[:] = np.uint8(1)
    else:
        others = filter_events(filters, tests, number, start, masks, scratch, passes.shape[0])
    if not is_covered(leaf_row, chunk):
        low, high = leaf_row[LEAF_FIRST_MS] - chunk[CHUNK_BASE_MS], leaf_row[LEAF_LAST_MS] - chunk[CHUNK_BASE_MS]
        if chunk[CHUNK_IS_WIDE]:
            _cut(i64s(chunk[CHUNK_TIMES] + 8 * start, passes.shape[0]), low, high, passes)
        else:
            _cut_narrow(chunk[CHUNK_TIMES] + 4 * start, low, high, passes)
    return others
