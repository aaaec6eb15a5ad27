"""Depth that each user reached along the steps of a sequence."""

from __future__ import annotations

import numpy as np

from cdp_query.kernels.matching import can_fill
from cdp_store.arrays import I64, U8, U32
from cdp_store.kernels.jit import kernel

_NEVER = -(1 << 62)


@kernel
def sequence_depth(rows: U32, times: I64, steps: U32, length: int, within: int, strict: bool, depth: U8) -> None:
    """depth[row] = most steps any attempt of that user completed.

    Events sorted by (row, time); steps[i] is the set of steps event i matches, as bits. Per step the latest possible
    start is kept (semantics.md, section 4): O(events x length). `within` < 0 means no limit. Events of one time count
    as in order unless `strict`. Reads 16 bytes an event.
    """
    start = np.empty(length, np.int64)
    fresh = np.empty(length, np.int64)
    n = rows.shape[0]
    at = 0
    while at < n:
        row = rows[at]
        start[:] = _NEVER
        best = 0
        while at < n and rows[at] == row and best < length:
            stop = at + 1
            while stop < n and rows[stop] == row and times[stop] == times[at]:
                stop += 1
            # The usual case is one event at a time: it needs no matching of events with steps.
            if stop == at + 1 or strict:
                reached = _advance_one_by_one(steps, at, stop, times[at], length, within, start, fresh)
            else:
                reached = _advance_together(steps, at, stop, times[at], length, within, start, fresh)
            best = max(best, reached)
            at = stop
        # All steps are done: the user's other events change nothing.
        while at < n and rows[at] == row:
            at += 1
        depth[row] = best


@kernel
def _in_time(start: int, now: int, within: int) -> bool:
    return start != _NEVER and (within < 0 or now - start <= within)


@kernel
def _advance_one_by_one(
    steps: U32, at: int, stop: int, now: int, length: int, within: int, start: I64, fresh: I64
) -> int:
    """Each event of one time follows only events of earlier times."""
    reached = 0
    # Starts from before this instant are read, new ones are written apart: events of one time do not chain.
    fresh[:] = start
    for i in range(at, stop):
        for step in range(length):
            if (steps[i] >> np.uint32(step)) & np.uint32(1):
                if step == 0:
                    fresh[0] = now
                    reached = max(reached, 1)
                elif _in_time(start[step - 1], now, within):
                    fresh[step] = max(fresh[step], start[step - 1])
                    reached = max(reached, step + 1)
    start[:] = fresh
    return reached


@kernel
def _advance_together(
    steps: U32, at: int, stop: int, now: int, length: int, within: int, start: I64, fresh: I64
) -> int:
    """Events of one time may follow each other in any order, each filling at most one step."""
    reached = 0
    fresh[:] = start
    for begin in range(length):
        base = now if begin == 0 else start[begin - 1]
        if not _in_time(base, now, within):
            continue
        end = begin
        while end < length and can_fill(steps, at, stop, begin, end):
            fresh[end] = max(fresh[end], base)
            reached = max(reached, end + 1)
            end += 1
    start[:] = fresh
    return reached
