"""Events gathered by row: those of a row side by side and in order of time, whatever chunks they lie in."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.following import row_key
from cdp_query.compiled.kernels.layout import CHUNK_BASE_MS, CHUNK_EVENTS, CHUNK_IS_WIDE, CHUNK_TIMES
from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.kernels.jit import leaf
from cdp_store.limits import TIME_MIN_MS

_FEW = 32


@leaf
def list_rows(wanted: U8, rows: U32) -> int:
    """rows[:n] = the rows that are wanted; returns n."""
    found = np.uint64(0)
    for row in range(np.uint64(wanted.shape[0])):
        rows[found] = np.uint32(row)
        found += np.uint64(wanted[row])
    return int(np.int64(found))


@leaf
def lay_out(rows: U32, counts: U32, begins: U32, ends: U32) -> int:
    """Gives each row room for its events: begins[row] = ends[row] = its first place; returns the places."""
    places = np.uint32(0)
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        begins[row] = places
        ends[row] = places
        places += counts[row]
    return int(np.int64(places))


@leaf
def _fill(
    run_rows: U16,
    run_starts: U32,
    times: AnyArray,
    base: int,
    first: int,
    last: int,
    passes: U8,
    wanted: U8,
    runs: U32,
    latest_ms: int,
    late: U32,
    ends: U32,
    gathered: I64,
) -> None:
    origin, is_masked, found = np.uint64(run_starts[first]), passes.shape[0] > 0, np.uint64(0)
    # Listed first, without a branch for each: which runs are wanted cannot be predicted.
    for run in range(np.uint64(first), np.uint64(last)):
        runs[found] = np.uint32(run)
        found += np.uint64(wanted[run_rows[run]])
    for number in range(found):
        own = np.uint64(runs[number])
        row = run_rows[own]
        place, start = np.uint64(ends[row]), np.uint64(run_starts[own])
        if base + np.int64(times[start]) < latest_ms:
            _note_late(row, late)
        key = row_key(row) + base - TIME_MIN_MS
        for i in range(start, np.uint64(run_starts[own + np.uint64(1)])):
            if is_masked and not passes[i - origin]:
                continue
            gathered[place] = key + np.int64(times[i])
            place += np.uint64(1)
        ends[row] = np.uint32(place)


@leaf
def _note_late(row: np.uint16, late: U32) -> None:
    """Adds a row to the list late[1 : 1 + late[0]]; late[0] is greater than the list has room for if it is full."""
    number = late[0] + np.uint32(1)
    if np.int64(number) < late.shape[0]:
        late[number] = np.uint32(row)
        late[0] = number
    else:
        late[0] = np.uint32(late.shape[0])


@leaf
def fill_chunk(
    chunk: I64,
    first: int,
    last: int,
    passes: U8,
    wanted: U8,
    runs: U32,
    latest_ms: int,
    late: U32,
    ends: U32,
    gathered: I64,
) -> None:
    """Appends each run's events to those of its row, if the row is wanted: at gathered[ends[row]] (see following.py).

    Lists the rows with events before `latest_ms`, the latest of all earlier chunks. `runs` u32[rows] is working memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    base, events, address = chunk[CHUNK_BASE_MS], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    if chunk[CHUNK_IS_WIDE]:
        _fill(
            run_rows,
            run_starts,
            i64s(address, events),
            base,
            first,
            last,
            passes,
            wanted,
            runs,
            latest_ms,
            late,
            ends,
            gathered,
        )
    else:
        _fill(
            run_rows,
            run_starts,
            u32s(address, events),
            base,
            first,
            last,
            passes,
            wanted,
            runs,
            latest_ms,
            late,
            ends,
            gathered,
        )


@leaf
def put_in_order(rows: U32, begins: U32, ends: U32, gathered: I64, late: U32) -> None:
    """Sorts the events of the rows that are listed as late, or of all if the list is too short for them."""
    if np.int64(late[0]) < late.shape[0]:
        rows = late[1 : 1 + np.int64(late[0])]
    for number in range(np.uint64(rows.shape[0])):
        row = rows[number]
        begin, end = np.uint64(begins[row]), np.uint64(ends[row])
        if end - begin > np.uint64(_FEW):
            _sort_many(gathered[begin:end])
        elif end > begin + np.uint64(1):
            _sort_few(gathered, begin, end)


@leaf
def _sort_few(times: I64, begin: np.uint64, end: np.uint64) -> None:
    for place in range(begin + np.uint64(1), end):
        time, hole = times[place], np.uint64(place)
        while hole > begin and times[hole - np.uint64(1)] > time:
            times[hole] = times[hole - np.uint64(1)]
            hole -= np.uint64(1)
        times[hole] = time


@leaf
def _sort_many(times: I64) -> None:
    """Sorts in place: a heap, because nothing may be allocated here and no order of chunks may cost its square."""
    n, is_sorted = times.shape[0], True
    for i in range(1, n):
        is_sorted &= times[i - 1] <= times[i]
    if is_sorted:
        return
    for root in range(n // 2 - 1, -1, -1):
        _sink(times, root, n)
    for end in range(n - 1, 0, -1):
        times[0], times[end] = times[end], times[0]
        _sink(times, 0, end)


@leaf
def _sink(times: I64, root: int, end: int) -> None:
    time = times[root]
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and times[child + 1] > times[child]:
            child += 1
        if times[child] <= time:
            break
        times[root] = times[child]
        root = child
    times[root] = time
