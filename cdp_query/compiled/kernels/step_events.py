"""Events of a step as sorted numbers (see following.py), from the runs of chunks whose times may overlap."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, put_eight_i64, put_eight_u32, u32s
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.following import BLOCK_BITS, BLOCKS, row_key
from cdp_query.compiled.kernels.layout import CHUNK_BASE_MS, CHUNK_EVENTS, CHUNK_IS_WIDE, CHUNK_TIMES
from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.kernels.jit import inlined, leaf
from cdp_store.kernels.words import put_word, word_at
from cdp_store.limits import TIME_MIN_MS

SLACK: Final = 8  # places beyond its end that an array needs, because short runs are copied without a loop
PILES: Final = 48  # lists that wait to be merged: each is twice as long as the next one


@inlined
def _append_run(is_wide: bool, address: int, events: int, key: int, start: int, stop: int, target: int) -> None:
    """Puts the numbers of the events start:stop, one at least, and of up to seven more at an address.

    Most runs need no loop. `address` is that of all `events` times of a chunk.
    """
    if stop + SLACK > events:
        for i in range(start, stop):
            time = i64s(address, stop)[i] if is_wide else np.int64(u32s(address, stop)[i])
            i64s(target, stop - start)[i - start] = key + time
    else:
        for i in range(start, stop, SLACK):
            if is_wide:
                put_eight_i64(target + ((i - start) << 3), address + (i << 3), key)
            else:
                put_eight_u32(target + ((i - start) << 3), address + (i << 2), key)


@leaf
def _append_flags(passes: U8, start: int, stop: int, at: int, flags: U8) -> None:
    """flags[at:] = passes[start:stop], and up to seven more after them."""
    source, target = passes.ctypes.data + start, flags.ctypes.data + at
    for offset in range(0, stop - start, SLACK):
        put_word(target, offset, word_at(source, offset))


@leaf
def _choose(run_rows: U16, first: int, last: int, asked: U8, least: np.uint8, chosen: U32) -> int:
    """chosen[:n] = those of the runs first:last whose rows are asked for; returns n."""
    # Without a branch for each: which runs are asked for cannot be predicted.
    found = np.uint64(0)
    for run in range(np.uint64(first), np.uint64(last)):
        chosen[found] = np.uint32(run)
        found += np.uint64(asked[run_rows[run]] >= least)
    return int(np.int64(found))


@leaf
def _append_block(
    chunk: I64,
    run_rows: U16,
    run_starts: U32,
    runs: U32,
    passes: U8,
    origin: int,
    flags: U8,
    begin: int,
    marks: U8,
    numbers: I64,
) -> int:
    """Appends the events of some runs of one block at numbers[begin:]; returns the end."""
    is_wide, events, address = chunk[CHUNK_IS_WIDE] != 0, chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    delta, target, at = chunk[CHUNK_BASE_MS] - TIME_MIN_MS, numbers.ctypes.data, begin
    for each in range(np.uint64(runs.shape[0])):
        run = np.uint64(runs[each])
        row = run_rows[run]
        start, stop = int(np.int64(run_starts[run])), int(np.int64(run_starts[run + np.uint64(1)]))
        marks[row] = max(marks[row], np.uint8(1))
        _append_run(is_wide, address, events, row_key(row) + delta, start, stop, target + (at << 3))
        if passes.shape[0] > 0:
            _append_flags(passes, start - origin, stop - origin, at - begin, flags)
        at += stop - start
    if passes.shape[0] == 0:
        return at
    end = np.uint64(begin)
    for i in range(np.uint64(begin), np.uint64(at)):
        numbers[end] = numbers[i]
        end += np.uint64(flags[i - np.uint64(begin)])
    return int(np.int64(end))


@leaf
def _runs_before(run_rows: U16, first: int, last: int, row: int) -> int:
    """The first of the runs first:last whose row is not below `row`."""
    while first < last:
        middle = (first + last) >> 1
        if np.int64(run_rows[np.uint64(middle)]) < row:
            first = middle + 1
        else:
            last = middle
    return first


@leaf
def append_events(
    chunk: I64,
    first: int,
    last: int,
    passes: U8,
    flags: U8,
    asked: U8,
    least: int,
    chosen: U32,
    marks: U8,
    numbers: I64,
    offsets: I64,
) -> None:
    """Appends the events of the runs first:last, one at least, to a list: those of block b end at offsets[b + 1].

    Only rows with asked[row] >= least count; marks[row] becomes 1 at least, if it has a run.
    `passes` u8 is empty if all events pass, else as long as these events. `flags` u8 and `chosen` u32[rows] are working
    memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    at, run, origin = offsets[BLOCKS], first, int(np.int64(run_starts[np.uint64(first)]))
    block = int(np.int64(run_rows[np.uint64(first)] >> np.uint16(BLOCK_BITS)))
    while run < last:
        end = _runs_before(run_rows, run, last, (block + 1) << BLOCK_BITS)
        runs = chosen[: _choose(run_rows, run, end, asked, np.uint8(least), chosen)]
        at = _append_block(chunk, run_rows, run_starts, runs, passes, origin, flags, at, marks, numbers)
        block += 1
        offsets[block : BLOCKS + 1] = at
        run = end


@leaf
def _merge(numbers: I64, own: I64, other: I64, merged: I64) -> None:
    """Makes one list of two that lie side by side; `own` become its offsets. `merged` i64 is working memory.

    Two blocks are merged in turns: each waits for what it loads.
    """
    begin, at = np.uint64(own[0]), np.uint64(0)
    for block in range(0, BLOCKS, 2):
        i, i_end = np.uint64(own[block]), np.uint64(own[block + 1])
        j, j_end = np.uint64(other[block]), np.uint64(other[block + 1])
        k, k_end = i_end, np.uint64(own[block + 2])
        m, m_end = j_end, np.uint64(other[block + 2])
        own[block] = np.int64(begin + at)
        to = at + (i_end - i) + (j_end - j)
        own[block + 1] = np.int64(begin + to)
        while i < i_end and j < j_end and k < k_end and m < m_end:
            is_first, is_third = np.uint64(numbers[i] <= numbers[j]), np.uint64(numbers[k] <= numbers[m])
            merged[at], merged[to] = min(numbers[i], numbers[j]), min(numbers[k], numbers[m])
            at += np.uint64(1)
            to += np.uint64(1)
            i += is_first
            j += np.uint64(1) - is_first
            k += is_third
            m += np.uint64(1) - is_third
        _merge_rest(numbers, i, i_end, j, j_end, merged, at)
        at = _merge_rest(numbers, k, k_end, m, m_end, merged, to)
    own[BLOCKS] = np.int64(begin + at)
    for place in range(at):
        numbers[begin + place] = merged[place]


@leaf
def _merge_rest(
    numbers: I64, i: np.uint64, i_end: np.uint64, j: np.uint64, j_end: np.uint64, merged: I64, at: np.uint64
) -> np.uint64:
    while i < i_end and j < j_end:
        is_first = np.uint64(numbers[i] <= numbers[j])
        merged[at] = min(numbers[i], numbers[j])
        at += np.uint64(1)
        i += is_first
        j += np.uint64(1) - is_first
    for rest in range(i, i_end):
        merged[at] = numbers[rest]
        at += np.uint64(1)
    for rest in range(j, j_end):
        merged[at] = numbers[rest]
        at += np.uint64(1)
    return at


@leaf
def pile_up(numbers: I64, piles: I64, count: int, merged: I64, is_last: bool) -> int:
    """Merges lists that lie one after the other, the newest with its neighbour as long as that is not twice as long.

    piles i64[PILES, BLOCKS + 1] are their offsets, `count` of them. Returns how many are left: one if `is_last`, unless
    there was none. So a list is merged a number of times that grows with the logarithm of theirs.
    """
    while count > 1:
        newest, neighbour = piles[count - 1], piles[count - 2]
        if not is_last and newest[BLOCKS] - newest[0] < (neighbour[BLOCKS] - neighbour[0]) >> 1:
            break
        _merge(numbers, neighbour, newest, merged)
        count -= 1
    return count
