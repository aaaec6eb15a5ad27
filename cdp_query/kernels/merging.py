"""Events of several chunks as one, in order of row and time: runs are merged, nothing is sorted."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.kernels.memory import i64_at, u8_at, u16_at, u32_at
from cdp_store.arrays import I64, U16, U32, AnyArray
from cdp_store.kernels.jit import inlined, kernel, leaf

# Fields of a source, the events of one chunk.
RUN_ROWS: Final = 0
RUN_STARTS: Final = 1
RUN_OFFSETS: Final = 2
MORSELS: Final = 3
TIMES: Final = 4
WIDE_TIMES: Final = 5
BASE_MS: Final = 6
MASK: Final = 7  # address of one bool per event; 0: all count
FIRST_MS: Final = 8  # of the times that count
LAST_MS: Final = 9
PLAIN: Final = 10  # every event counts, and times are u32

# Rows merged at a time, so that their state stays in the cache.
_BLOCK: Final = 2048


@kernel
def merge_runs(
    sources: I64, base: int, run_rows: U16, run_starts: U32, run_offsets: I64, times: AnyArray, order: I64
) -> tuple[int, int]:
    """Number of runs and events of the chunk of all events of `sources` i64[chunks, 11] that count.

    Events of one row and time come in the order of the sources. run_rows, run_starts and times get what EventChunk
    has, times since `base`; run_offsets i64[morsels + 1] for as many morsels as any source has. `order` is empty, or
    gets the place of each event among those of all sources, one after the other. Reads 12 bytes a run and 4 an event.
    """
    count = sources.shape[0]
    run, next_run = np.zeros(count, np.int64), np.zeros(count, np.int64)
    end, origin = np.zeros(count, np.int64), np.zeros(count, np.int64)
    # Places tell events that are left out too: columns of all chunks, one after the other, are gathered by them.
    for s in range(1, count):
        past = sources[s - 1]
        origin[s] = origin[s - 1] + u32_at(past[RUN_STARTS], i64_at(past[RUN_OFFSETS], past[MORSELS]))
    ends, lengths = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    runs, n = 0, 0
    for morsel in range(run_offsets.shape[0] - 1):
        run_offsets[morsel] = runs
        for s in range(count):
            inside = morsel < sources[s, MORSELS]
            run[s] = i64_at(sources[s, RUN_OFFSETS], morsel) if inside else 0
            end[s] = i64_at(sources[s, RUN_OFFSETS], morsel + 1) if inside else 0
        first = 0
        while np.any(run < end):
            lengths[:] = 0
            # Counted before any event is written: where a row begins depends on the rows before it in all chunks.
            for s in range(count):
                next_run[s] = _count_block(sources, s, first, run[s], end[s], lengths)
            for row in range(_BLOCK):
                ends[row] = n
                # A run without events would break the promise of an index.
                if lengths[row]:
                    run_rows[runs], run_starts[runs] = first + row, n
                    runs += 1
                    n += lengths[row]
            lengths[:] = ends
            for s in range(count):
                _add_block(sources, s, first, run[s], next_run[s], base, origin[s], lengths, ends, times, order)
                run[s] = next_run[s]
            first += _BLOCK
    run_offsets[run_offsets.shape[0] - 1] = runs
    run_starts[runs] = n
    return runs, n


@inlined
def _time(sources: I64, s: int, event: int) -> int:
    address = sources[s, TIMES]
    since_base = i64_at(address, event) if sources[s, WIDE_TIMES] else u32_at(address, event)
    return since_base + int(sources[s, BASE_MS])


@inlined
def _counts(sources: I64, s: int, at: int, event: int) -> bool:
    mask = sources[s, MASK]
    return sources[s, FIRST_MS] <= at <= sources[s, LAST_MS] and (mask == 0 or u8_at(mask, event) != 0)


@leaf
def _count_block(sources: I64, s: int, first: int, run: int, end: int, lengths: I64) -> int:
    """lengths[row - first] += events that count of each run of a block of rows; returns the run after them."""
    rows, starts, plain = sources[s, RUN_ROWS], sources[s, RUN_STARTS], sources[s, PLAIN]
    while run < end:
        row = u16_at(rows, run) - first
        if row >= _BLOCK:
            break
        event, stop = u32_at(starts, run), u32_at(starts, run + 1)
        if plain:
            lengths[row] += stop - event
        else:
            while event < stop:
                lengths[row] += _counts(sources, s, _time(sources, s, event), event)
                event += 1
        run += 1
    return run


@leaf
def _add_block(
    sources: I64,
    s: int,
    first: int,
    run: int,
    stop_run: int,
    base: int,
    origin: int,
    begins: I64,
    ends: I64,
    times: AnyArray,
    order: I64,
) -> None:
    """Merge the runs of a block into begins[row - first]:ends[row - first], whose ends move on."""
    rows, starts, plain = sources[s, RUN_ROWS], sources[s, RUN_STARTS], sources[s, PLAIN]
    address, shift = sources[s, TIMES], sources[s, BASE_MS] - base
    while run < stop_run:
        row = u16_at(rows, run) - first
        event, stop = u32_at(starts, run), u32_at(starts, run + 1)
        added = stop - event
        if not plain:
            added = 0
            for i in range(event, stop):
                added += _counts(sources, s, _time(sources, s, i), i)
        begin, old = begins[row], ends[row]
        # From the end on, in place: a later chunk mostly has later events, which then only are written.
        place = old + added
        ends[row] = place
        while place > old:
            stop -= 1
            # The times of a plain source have 32 bits: nothing else of it is read.
            at = u32_at(address, stop) + shift if plain else _time(sources, s, stop) - base
            if plain or _counts(sources, s, at + base, stop):
                # Only past later ones: equal times stay in the order of the sources.
                while old > begin and np.int64(times[old - 1]) > at:
                    place, old = place - 1, old - 1
                    times[place] = times[old]
                    if order.shape[0]:
                        order[place] = order[old]
                place -= 1
                times[place] = at
                if order.shape[0]:
                    order[place] = origin + stop
        run += 1
