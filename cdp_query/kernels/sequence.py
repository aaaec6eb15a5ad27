"""How far each user got along the steps of a sequence."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, Bools
from cdp_store.jit import kernel

_NEVER = -(1 << 62)


@kernel
def sequence_depth(rows: U32, times: I64, steps: U32, length: int, within: int, strict: bool, depth: U8) -> None:
    """depth[row] = most steps any attempt of that user completed.

    Events sorted by (row, time); steps[i] is the set of steps event i matches, as bits. Per step the latest possible
    start is kept (segments.md, section 4): O(events x length). `within` < 0 means no limit. Events of one time count
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
            if stop == at + 1 or strict:
                reached = _advance_one_by_one(steps, at, stop, times[at], length, within, start, fresh)
            else:
                reached = _advance_together(steps, at, stop, times[at], length, within, start, fresh)
            best = max(best, reached)
            at = stop
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
        while end < length and _can_fill(steps, at, stop, begin, end):
            fresh[end] = max(fresh[end], base)
            reached = max(reached, end + 1)
            end += 1
    start[:] = fresh
    return reached


@kernel
def _can_fill(steps: U32, at: int, stop: int, begin: int, end: int) -> bool:
    """Whether steps begin..end can be given different events of at..stop-1 (bipartite matching, after Kuhn)."""
    wanted = end - begin + 1
    if stop - at < wanted:
        return False
    pool = _distinct_enough(steps, at, stop, begin, end)
    owner = np.full(pool.shape[0], -1, np.int64)
    visited = np.zeros(pool.shape[0], np.bool_)
    for step in range(begin, end + 1):
        visited[:] = False
        if not _assign(pool, step, owner, visited):
            return False
    return True


@kernel
def _distinct_enough(steps: U32, at: int, stop: int, begin: int, end: int) -> U32:
    """The step sets of the events, cut to begin..end, each set at most as often as there are steps to fill.

    Thousands of equal events at one time then cost no more than a few.
    """
    wanted = end - begin + 1
    window = np.uint32(((1 << wanted) - 1) << begin)
    room = stop - at
    if wanted <= 10:
        room = min(room, wanted << wanted)
    pool = np.empty(room, np.uint32)
    used = 0
    for i in range(at, stop):
        matched = steps[i] & window
        if matched == 0:
            continue
        same = 0
        for j in range(used):
            if pool[j] == matched:
                same += 1
        if same < wanted:
            pool[used] = matched
            used += 1
    return pool[:used]


@kernel
def _assign(pool: U32, step: int, owner: I64, visited: Bools) -> bool:
    """Give `step` an event, moving earlier owners along an augmenting path (iterative depth-first search)."""
    stack_step = np.empty(pool.shape[0] + 1, np.int64)
    stack_next = np.zeros(pool.shape[0] + 1, np.int64)
    stack_event = np.empty(pool.shape[0] + 1, np.int64)
    top = 0
    stack_step[0] = step
    stack_next[0] = 0
    while top >= 0:
        event = stack_next[top]
        if event == pool.shape[0]:
            top -= 1
            continue
        stack_next[top] += 1
        if visited[event] or not (pool[event] >> np.uint32(stack_step[top])) & np.uint32(1):
            continue
        visited[event] = True
        stack_event[top] = event
        if owner[event] < 0:
            for level in range(top + 1):
                owner[stack_event[level]] = stack_step[level]
            return True
        top += 1
        stack_step[top] = owner[event]
        stack_next[top] = 0
    return False
