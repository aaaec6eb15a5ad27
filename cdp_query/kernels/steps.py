"""Depth that each user reached along steps that no event can fill twice: chunks are merged in place, without a sort.

Chunks come in groups that do not overlap in time, usually the buckets, and groups in order of time. So one number per
step holds all that matters of a user's earlier groups: the latest start of an attempt that completed the step
(semantics.md, section 4). Inside a group, a step hands the events that raised that number on to the next step.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.kernels.memory import i64_at, u8_at, u16_at, u32_at
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import inlined, kernel

# Fields of a source, the events of one step in one group.
RUN_ROWS: Final = 0
RUN_STARTS: Final = 1
RUN_OFFSETS: Final = 2
MORSELS: Final = 3  # 0 where the group has no events of the step
TIMES: Final = 4
WIDE_TIMES: Final = 5
BASE_MS: Final = 6
MASK: Final = 7
FIRST_MS: Final = 8
LAST_MS: Final = 9
PLAIN: Final = 10
SOURCE_FIELDS: Final = 11

# Rows walked at a time, so that their state stays in the cache. A block never spans two morsels, of 65,536 rows each.
_BLOCK: Final = 2048
_NEVER: Final = -(1 << 62)
# Fields that a step hands on for a row: stamp, start and length of its list, and the best start before the group.
_STAMP, _OFFSET, _LENGTH, _BEFORE, _LIST_FIELDS = 0, 1, 2, 3, 4


@kernel
def depth_by_row(sources: I64, within: int, strict: bool, depth: U8) -> None:
    """depth[row] = most steps any attempt of that user completed.

    `sources` is i64[groups, steps, SOURCE_FIELDS]: addresses of the events' arrays and, in MASK, of one bool per event
    or 0 where all count; FIRST_MS..LAST_MS bound the times wanted of that step, PLAIN says that every event counts and
    times are u32. Reads 6 bytes a run, the first or last time of each, and the others where a user has two steps in
    one group.
    """
    groups, length = sources.shape[0], sources.shape[1]
    runs = np.zeros((groups, length), np.int64)  # the next run of each source; they follow the rows over all morsels
    best = np.empty((length, _BLOCK), np.int64)
    lists = np.zeros((2, _BLOCK, _LIST_FIELDS), np.int64)
    room = _most_events(sources, depth.shape[0])
    times, starts = np.empty((2, room), np.int64), np.empty((2, room), np.int64)
    stamp = 0
    for first_row in range(0, depth.shape[0], _BLOCK):
        row_count = min(depth.shape[0] - first_row, _BLOCK)
        best[:, :row_count] = _NEVER
        for group in range(groups):
            for step in range(length):
                # Lists are never cleared: one without the stamp of the step before counts as empty.
                stamp += 1
                source, run = sources[group, step], runs[group, step]
                if first_row >> 16 >= source[MORSELS]:
                    continue
                if step == 0:
                    runs[group, 0] = _start(source, first_row, run, stamp, best[0], lists[0], times[0])
                    continue
                # A step reads the side of the step before and writes the other. A first step's times are its starts.
                side = step & 1
                past_starts = starts[1 - side] if step > 1 else times[0]
                runs[group, step] = _follow(
                    source,
                    first_row,
                    run,
                    stamp,
                    within,
                    strict,
                    best[step - 1],
                    best[step],
                    lists[1 - side],
                    lists[side],
                    times[1 - side],
                    past_starts,
                    times[side],
                    starts[side],
                )
        for row in range(row_count):
            reached = 0
            for step in range(length):
                reached += best[step, row] != _NEVER
            depth[first_row + row] = reached


@kernel
def _most_events(sources: I64, rows: int) -> int:
    """Most events that any source has of the rows of one block."""
    most = 0
    for group in range(sources.shape[0]):
        for step in range(sources.shape[1]):
            source = sources[group, step]
            for first_row in range(0, min(rows, source[MORSELS] << 16), _BLOCK):
                first, last = _run_at(source, first_row), _run_at(source, first_row + _BLOCK)
                most = max(most, _event(source, last) - _event(source, first))
    return most


@kernel
def _run_at(source: I64, row: int) -> int:
    """The first run at or after a row of the partition."""
    morsel = row >> 16
    if morsel >= source[MORSELS]:
        return i64_at(source[RUN_OFFSETS], source[MORSELS])
    # Searched: only the borders of blocks are asked for, and most runs lie between them.
    low, high = i64_at(source[RUN_OFFSETS], morsel), i64_at(source[RUN_OFFSETS], morsel + 1)
    while low < high:
        middle = (low + high) >> 1
        if u16_at(source[RUN_ROWS], middle) < row & 0xFFFF:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _event(source: I64, run: int) -> int:
    return u32_at(source[RUN_STARTS], run)


@inlined
def _time(address: int, wide: int, base: int, event: int) -> int:
    return base + (i64_at(address, event) if wide else u32_at(address, event))


@kernel
def _counts(source: I64, at: int, event: int) -> bool:
    return source[FIRST_MS] <= at <= source[LAST_MS] and (source[MASK] == 0 or u8_at(source[MASK], event) != 0)


@kernel
def _start(source: I64, first_row: int, run: int, stamp: int, best: I64, lists: I64, times: I64) -> int:
    """Take the first step's events of a block, each the start of an attempt; returns the run after them."""
    address, wide, base, plain = source[TIMES], source[WIDE_TIMES], source[BASE_MS], source[PLAIN]
    end, local = i64_at(source[RUN_OFFSETS], (first_row >> 16) + 1), first_row & 0xFFFF
    first_event, n = _event(source, run), 0
    while run < end:
        row = u16_at(source[RUN_ROWS], run) - local
        if row >= _BLOCK:
            break
        event, stop, offset = _event(source, run), _event(source, run + 1), n
        if plain:
            n = stop - first_event
        else:
            while event < stop:
                now = _time(address, wide, base, event)
                if _counts(source, now, event):
                    times[n] = now
                    n += 1
                event += 1
        if n > offset:
            lists[row, _STAMP], lists[row, _OFFSET], lists[row, _LENGTH] = stamp, offset, n - offset
            lists[row, _BEFORE] = best[row]
            # A run is in order of time, so its last event is the latest start.
            best[row] = _time(address, wide, base, stop - 1) if plain else times[n - 1]
        run += 1
    if plain:
        for i in range(n):
            times[i] = base + u32_at(address, first_event + i)
    return run


@kernel
def _follow(
    source: I64,
    first_row: int,
    run: int,
    stamp: int,
    within: int,
    strict: bool,
    past_best: I64,
    best: I64,
    past_lists: I64,
    lists: I64,
    past_times: I64,
    past_starts: I64,
    times: I64,
    starts: I64,
) -> int:
    """Take a later step's events of a block; returns the run after them.

    Where the step before has none in this group, only a row's first event can give the step a later start.
    """
    address, wide, base, plain = source[TIMES], source[WIDE_TIMES], source[BASE_MS], source[PLAIN]
    end, local, n = i64_at(source[RUN_OFFSETS], (first_row >> 16) + 1), first_row & 0xFFFF, 0
    while run < end:
        row = u16_at(source[RUN_ROWS], run) - local
        if row >= _BLOCK:
            break
        event, stop, offset = _event(source, run), _event(source, run + 1), n
        own = best[row]
        latest, past, past_end, start = own, 0, 0, past_best[row]
        if past_lists[row, _STAMP] == stamp - 1:
            past, start = past_lists[row, _OFFSET], past_lists[row, _BEFORE]
            past_end = past + past_lists[row, _LENGTH]
        if past < past_end or start > own:
            while event < stop:
                now = _time(address, wide, base, event)
                if plain or _counts(source, now, event):
                    # Times are integers: `< now + 1` is `<= now`, so that one comparison serves both kinds of ties.
                    while past < past_end and past_times[past] < now + (not strict):
                        start = past_starts[past]
                        past += 1
                    if start > latest and (within < 0 or now - start <= within):
                        times[n] = now
                        starts[n] = start
                        n += 1
                        latest = start
                    # No later start is left, or it is out of time already: the other events of the row in this group
                    # change nothing.
                    elif past == past_end:
                        break
                event += 1
            if n > offset:
                lists[row, _STAMP], lists[row, _OFFSET], lists[row, _LENGTH] = stamp, offset, n - offset
                lists[row, _BEFORE] = own
                best[row] = latest
        run += 1
    return run
