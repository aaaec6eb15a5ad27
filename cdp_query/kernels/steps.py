"""How far each user got along steps that no event can fill twice: chunks are merged as they lie, nothing is sorted."""

from __future__ import annotations

import numpy as np

from cdp_query.kernels.memory import i64_at, u8_at, u16_at, u32_at
from cdp_store.arrays import I64, U8, U32
from cdp_store.jit import inlined, kernel

# Fields of a source, a chunk that holds events of a step.
STEP = 0
RUN_ROWS = 1
RUN_STARTS = 2
RUN_OFFSETS = 3
MORSELS = 4
TIMES = 5
WIDE_TIMES = 6
BASE_MS = 7
MASK = 8
FIRST_MS = 9
LAST_MS = 10
PLAIN = 11
SOURCE_FIELDS = 12
_NO_ROW = 1 << 32


@kernel
def depth_by_row(sources: I64, length: int, within: int, strict: bool, longest: int, depth: U8) -> None:
    """depth[row] = most steps any attempt of that user completed.

    `sources` is i64[SOURCE_FIELDS, chunks], grouped by step in order: addresses of the chunk's arrays and, in MASK, of
    one bool per event or 0 where all count; FIRST_MS..LAST_MS bound the times wanted of that step, PLAIN says that
    every event counts and times are u32. `longest` >= events of a row in any one step.
    Per step the events of a user that some attempt can reach are kept with the latest possible start (segments.md,
    section 4); both grow together, so the next step takes the last kept event at or before its own. Reads 2 bytes a
    run, and 10 a run and 4 to 8 an event of users who get as far as that.
    """
    count = sources.shape[1]
    firsts = np.zeros(length + 1, np.int64)
    for k in range(count):
        firsts[sources[STEP, k] + 1] = k + 1
    for step in range(length):
        firsts[step + 1] = max(firsts[step + 1], firsts[step])
    # Per source the run at hand, its row, and where the morsel's runs end.
    cursors, rows, ends = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    # Times kept of the step before and of this one, and their starts; a place more, for a time that is then dropped.
    times, starts = np.empty((2, longest + 1), np.int64), np.empty((2, longest + 1), np.int64)
    present = np.zeros(1 << 16, np.uint32)
    for morsel in range((depth.shape[0] + 0xFFFF) >> 16):
        first_row = morsel << 16
        row_count = min(depth.shape[0] - first_row, 1 << 16)
        present[:row_count] = 0
        for k in range(count):
            _enter_morsel(sources, k, morsel, cursors, rows, ends, present, times)
        for row in range(row_count):
            steps = present[row]
            if steps & np.uint32(1) == 0:
                continue
            reached = 1
            if length > 1 and steps & np.uint32(2) != 0:
                kept = _gather(sources, firsts[0], firsts[1], row, cursors, rows, ends, times, 0)
                starts[0, :kept] = times[0, :kept]
                while reached < length and (steps >> np.uint32(reached)) & np.uint32(1):
                    first, last, side = firsts[reached], firsts[reached + 1], reached & 1
                    found = _gather(sources, first, last, row, cursors, rows, ends, times, side)
                    kept = _follow(times, starts, found, kept, within, strict, side)
                    if kept == 0:
                        break
                    reached += 1
            depth[first_row + row] = reached


@kernel
def _enter_morsel(
    sources: I64, k: int, morsel: int, cursors: I64, rows: I64, ends: I64, present: U32, scratch: I64
) -> None:
    """Point source k at the morsel's runs and set the step's bit for rows with an event that counts."""
    cursors[k] = 0
    ends[k] = 0
    rows[k] = _NO_ROW
    if morsel >= sources[MORSELS, k]:
        return
    first, last = i64_at(sources[RUN_OFFSETS, k], morsel), i64_at(sources[RUN_OFFSETS, k], morsel + 1)
    bit = np.uint32(1) << np.uint32(sources[STEP, k])
    address = sources[RUN_ROWS, k]
    if sources[PLAIN, k]:
        for run in range(first, last):
            present[u16_at(address, run)] |= bit
    else:
        for run in range(first, last):
            row = u16_at(address, run)
            if not present[row] & bit and _take(sources, k, run, scratch, 0, 0):
                present[row] |= bit
    cursors[k] = first
    ends[k] = last
    if first < last:
        rows[k] = u16_at(address, first)


@inlined
def _take(sources: I64, k: int, run: int, times: I64, side: int, n: int) -> int:
    """Append the times of the run's events that count to times[side, :n]; returns the new n."""
    start, stop = np.int64(u32_at(sources[RUN_STARTS, k], run)), np.int64(u32_at(sources[RUN_STARTS, k], run + 1))
    address, base = sources[TIMES, k], sources[BASE_MS, k]
    if sources[PLAIN, k]:
        for event in range(start, stop):
            times[side, n] = base + np.int64(u32_at(address, event))
            n += 1
    else:
        wide, mask, low, high = sources[WIDE_TIMES, k], sources[MASK, k], sources[FIRST_MS, k], sources[LAST_MS, k]
        for event in range(start, stop):
            at = base + (i64_at(address, event) if wide else np.int64(u32_at(address, event)))
            if low <= at and at <= high and (mask == 0 or u8_at(mask, event) != 0):
                times[side, n] = at
                n += 1
    return n


@inlined
def _gather(
    sources: I64, first: int, last: int, row: int, cursors: I64, rows: I64, ends: I64, times: I64, side: int
) -> int:
    """times[side, :n] = the row's times in sources first..last-1 that count, ascending; returns n.

    Rows are asked for in ascending order.
    """
    n = 0
    in_order = True
    for k in range(first, last):
        if rows[k] <= row:
            run, end, address = cursors[k], ends[k], sources[RUN_ROWS, k]
            while run < end and np.int64(u16_at(address, run)) < row:
                run += 1
            cursors[k] = run
            rows[k] = np.int64(u16_at(address, run)) if run < end else _NO_ROW
            if rows[k] == row:
                more = _take(sources, k, run, times, side, n)
                if n > 0 and more > n and times[side, n] < times[side, n - 1]:
                    in_order = False
                n = more
    if not in_order:
        times[side, :n] = np.sort(times[side, :n])
    return n


@inlined
def _follow(times: I64, starts: I64, found: int, kept: int, within: int, strict: bool, side: int) -> int:
    """Keep those of the first `found` times that an attempt can reach from the other side, with the latest start."""
    n, at, other = 0, 0, 1 - side
    for i in range(found):
        now = times[side, i]
        while at < kept and (times[other, at] < now or (times[other, at] == now and not strict)):
            at += 1
        if at > 0 and (within < 0 or now - starts[other, at - 1] <= within):
            times[side, n] = now
            starts[side, n] = starts[other, at - 1]
            n += 1
    return n
