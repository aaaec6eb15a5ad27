"""Attempts at steps in any order: how many of them different events of one stretch of time can fill."""

from __future__ import annotations

import numpy as np

from cdp_query.kernels.attempts import DEEPEST, FIRST_ENTRY, NEVER, keep_better, same_time
from cdp_store.arrays import I32, I64, U8, U32, Bools
from cdp_store.kernels.jit import kernel


@kernel
def attempts_in_any_order(
    rows: U32,
    values: I32,
    times: I64,
    steps: U32,
    enters: Bools,
    arrival: I64,
    length: int,
    within: int,
    mode: int,
    out_rows: U32,
    out_depth: U8,
    out_entry: I64,
    out_ends: I64,
    out_latest: I64,
) -> int:
    """The attempts that count, as in attempts.ordered_attempts; returns their number.

    An attempt begins with an event that `enters` and takes the events of the next `within` ms (< 0: for ever). Its
    depth is the number of steps that different events of it can fill; every event here matches a step.
    """
    found, n, at = 0, rows.shape[0], 0
    while at < n:
        first, latest, row = found, NEVER, rows[at]
        while at < n and rows[at] == row:
            stop = at
            while stop < n and rows[stop] == row and values[stop] == values[at]:
                latest = max(latest, times[stop] if enters[stop] else NEVER)
                stop += 1
            found = _attempts_of_group(
                row, at, stop, times, steps, enters, arrival, length, within, mode, first, found,
                out_rows, out_depth, out_entry, out_ends,
            )  # fmt: skip
            at = stop
        for i in range(first, found):
            out_latest[i] = latest
    return found


@kernel
def _attempts_of_group(
    row: int,
    at: int,
    stop: int,
    times: I64,
    steps: U32,
    enters: Bools,
    arrival: I64,
    length: int,
    within: int,
    mode: int,
    first: int,
    found: int,
    out_rows: U32,
    out_depth: U8,
    out_entry: I64,
    out_ends: I64,
) -> int:
    """Write the attempts of one row and value, whose events are at..stop-1; the new `found`."""
    t, s, e = times[at:stop], steps[at:stop], enters[at:stop]
    if mode == DEEPEST:
        depth, entry, end = _deepest(t, s, e, length, within)
        if depth > 0:
            found = keep_better(
                row, depth, at + entry, end, times, arrival, first, found, True,
                out_rows, out_depth, out_entry, out_ends,
            )  # fmt: skip
        return found
    start = _next_entry(e, 0)
    while start >= 0:
        until = _until(t, start, within)
        depth, end = _fill(t, s, start, until, length)
        if mode == FIRST_ENTRY:
            return keep_better(
                row, depth, at + start, end, times, arrival, first, found, False,
                out_rows, out_depth, out_entry, out_ends,
            )  # fmt: skip
        out_rows[found], out_depth[found], out_entry[found], out_ends[found] = row, depth, at + start, end
        found += 1
        # One attempt after the other: an entry before the conversion, or before the time is up, begins none.
        start = _next_entry(e, until if end == NEVER else _behind(t, start, end))
    return found


@kernel
def _next_entry(enters: Bools, at: int) -> int:
    """Position of the first event from `at` that can begin an attempt, or -1."""
    for i in range(at, enters.shape[0]):
        if enters[i]:
            return i
    return -1


@kernel
def _until(times: I64, start: int, within: int) -> int:
    """End of the events that an attempt from `start` may use."""
    stop = start
    while stop < times.shape[0] and (within < 0 or times[stop] - times[start] <= within):
        stop += 1
    return stop


@kernel
def _behind(times: I64, at: int, instant: int) -> int:
    """Position of the first event from `at` later than an instant."""
    while at < times.shape[0] and times[at] <= instant:
        at += 1
    return at


@kernel
def _deepest(times: I64, steps: U32, enters: Bools, length: int, within: int) -> tuple[int, int, int]:
    """(depth, entry position, end or NEVER) of the deepest attempt, the earliest of those.

    Counts per step over the events within reach bound the depth, so that few starts are looked at closely.
    """
    counts = np.zeros(length, np.int64)
    best, entry, end, until, at = 0, -1, NEVER, 0, 0
    while at < times.shape[0] and best < length:
        following = same_time(times, at)
        # `until` never goes back, since `at` only grows: each event is counted in once, and out once.
        while until < times.shape[0] and (within < 0 or times[until] - times[at] <= within):
            _add(counts, steps[until], 1)
            until += 1
        start = _next_entry(enters[at:following], 0)
        if start >= 0 and np.count_nonzero(counts) > best:
            depth, filled = _fill(times, steps, at, until, length)
            if depth > best:
                best, entry, end = depth, at + start, filled
        for i in range(at, following):
            _add(counts, steps[i], -1)
        at = following
    return best, entry, end


@kernel
def _add(counts: I64, steps: np.uint32, by: int) -> None:
    for step in range(counts.shape[0]):
        if (steps >> np.uint32(step)) & np.uint32(1):
            counts[step] += by


@kernel
def _fill(times: I64, steps: U32, at: int, stop: int, length: int) -> tuple[int, int]:
    """(most steps that different events of at..stop-1 fill, time at which all are filled or NEVER).

    Events are offered in order of time. One that cannot enlarge the matching when it comes never can (the sets of
    events that can be matched form a matroid), so offering each once is enough.
    """
    held = np.zeros(length, np.uint32)
    filled = 0
    for i in range(at, stop):
        if _enlarge(held, steps[i]):
            filled += 1
            if filled == length:
                # The earliest end there is: events were offered in order of time.
                return filled, times[i]
    return filled, NEVER


@kernel
def _enlarge(held: U32, event: np.uint32) -> bool:
    """Give the event a step, moving others along an augmenting path; held[step] is the step set of its event or 0."""
    length = held.shape[0]
    came_from = np.full(length, -2, np.int64)
    queue = np.empty(length, np.int64)
    head, tail = 0, 0
    for step in range(length):
        if (event >> np.uint32(step)) & np.uint32(1):
            came_from[step] = -1
            queue[tail] = step
            tail += 1
    # Breadth first over steps; each enters the queue once, which bounds the loop.
    while head < tail:
        step = queue[head]
        head += 1
        if held[step] == 0:
            while came_from[step] >= 0:
                held[step] = held[came_from[step]]
                step = came_from[step]
            held[step] = event
            return True
        for other in range(length):
            if came_from[other] == -2 and (held[step] >> np.uint32(other)) & np.uint32(1):
                came_from[other] = step
                queue[tail] = other
                tail += 1
    return False
