"""Attempts at a sequence under all its rules: gaps, exclusions, one value held, and which attempts count.

Events of one group (a row, or a row and held value) are given as parallel arrays in order of time: times i64, steps u32
(the steps an event matches, as bits), kills u32 (the gaps an event ends, as bits: bit g for step g to g + 1).
"""

from __future__ import annotations

import numpy as np

from cdp_query.kernels.matching import can_fill
from cdp_store.arrays import I32, I64, U8, U32
from cdp_store.kernels.jit import kernel

NEVER = -(1 << 62)
DEEPEST = 0
FIRST_ENTRY = 1


@kernel
def ordered_attempts(
    rows: U32,
    values: I32,
    times: I64,
    steps: U32,
    kills: U32,
    arrival: I64,
    length: int,
    within: int,
    gap: int,
    strict_ties: bool,
    mode: int,
    out_rows: U32,
    out_depth: U8,
    out_entry: I64,
    out_ends: I64,
    out_latest: I64,
) -> int:
    """The attempts that count, as parallel arrays; returns their number.

    Events sorted by (row, value, time); value -1 is an event without the held value, which may only end attempts of
    its row. DEEPEST gives one attempt per row with an entry: the deepest, of those the earliest, of those the one that
    ends first; `arrival` i64[n] decides what is left. FIRST_ENTRY gives the attempt of a row's first entry, any other
    mode one after the other. out_entry is the position of the entry event, out_ends epoch ms of the last step or
    NEVER, out_latest the row's last entry. within and gap < 0 mean no limit. O(events x length) plus the matchings of
    events of one time.
    """
    found, n, at = 0, rows.shape[0], 0
    while at < n:
        row_stop = at
        while row_stop < n and rows[row_stop] == rows[at]:
            row_stop += 1
        loose_stop = at
        # Value -1 sorts before all others: events without the held value come first, and may end attempts of every
        # group of the row.
        while loose_stop < row_stop and values[loose_stop] < 0:
            loose_stop += 1
        first, group = found, loose_stop
        latest = NEVER
        while group < row_stop:
            stop = group
            while stop < row_stop and values[stop] == values[group]:
                stop += 1
            order = _merged(times, at, loose_stop, group, stop)
            s = steps[order]
            for i in range(order.shape[0]):
                if s[i] & np.uint32(1):
                    latest = max(latest, times[order[i]])
            found = _attempts_of_group(
                rows[at], order, times, s, kills, arrival, length, within, gap, strict_ties, mode, first, found,
                out_rows, out_depth, out_entry, out_ends,
            )  # fmt: skip
            group = stop
        for i in range(first, found):
            out_latest[i] = latest
        at = row_stop
    return found


@kernel
def _attempts_of_group(
    row: int,
    order: I64,
    times: I64,
    steps: U32,
    kills: U32,
    arrival: I64,
    length: int,
    within: int,
    gap: int,
    strict_ties: bool,
    mode: int,
    first: int,
    found: int,
    out_rows: U32,
    out_depth: U8,
    out_entry: I64,
    out_ends: I64,
) -> int:
    """Write the attempts of one row and value, whose events are at `order` (steps already are); the new `found`.

    first..found-1 are the attempts of other values of the row: where one per row counts, the better one stays.
    """
    t, k = times[order], kills[order]
    if mode == DEEPEST:
        depth, entry, end = _deepest(t, steps, k, length, within, gap, strict_ties)
        if depth > 0:
            found = keep_better(
                row, depth, order[entry], end, times, arrival, first, found, True,
                out_rows, out_depth, out_entry, out_ends,
            )  # fmt: skip
        return found
    start = _next_entry(steps, 0)
    while start >= 0:
        depth, end, resume = _follow(t, steps, k, start, length, within, gap, strict_ties)
        if mode == FIRST_ENTRY:
            return keep_better(
                row, depth, order[start], end, times, arrival, first, found, False,
                out_rows, out_depth, out_entry, out_ends,
            )  # fmt: skip
        out_rows[found], out_depth[found], out_entry[found], out_ends[found] = row, depth, order[start], end
        found += 1
        start = _next_entry(steps, resume)
    return found


@kernel
def _merged(times: I64, loose: int, loose_stop: int, group: int, stop: int) -> I64:
    """Positions of loose..loose_stop-1 and group..stop-1 together in order of time."""
    order = np.empty(loose_stop - loose + stop - group, np.int64)
    for i in range(order.shape[0]):
        # Which of two comes first at one time does not matter: all that follows takes the events of a time together.
        if group == stop or (loose < loose_stop and times[loose] < times[group]):
            order[i] = loose
            loose += 1
        else:
            order[i] = group
            group += 1
    return order


@kernel
def keep_better(
    row: int,
    depth: int,
    entry: int,
    end: int,
    times: I64,
    arrival: I64,
    first: int,
    found: int,
    depth_first: bool,
    out_rows: U32,
    out_depth: U8,
    out_entry: I64,
    out_ends: I64,
) -> int:
    """Keep one attempt of a row: the deeper, then the earlier entry (or the other way round), end, and arrival."""
    if found > first:
        deeper = depth - np.int64(out_depth[first])
        earlier = times[out_entry[first]] - times[entry]
        better = deeper if depth_first else earlier
        if better == 0:
            better = earlier if depth_first else deeper
        if better == 0:
            better = out_ends[first] - end
        if better == 0:
            # Of equally good attempts the one whose entry stands first at its instant: its properties name the group
            # that counts.
            better = arrival[out_entry[first]] - arrival[entry]
        if better <= 0:
            return found
    out_rows[first], out_depth[first], out_entry[first], out_ends[first] = row, depth, entry, end
    return first + 1


@kernel
def _next_entry(steps: U32, at: int) -> int:
    """Position of the first event from `at` that can be an entry, or -1."""
    for i in range(at, steps.shape[0]):
        if steps[i] & np.uint32(1):
            return i
    return -1


@kernel
def same_time(times: I64, at: int) -> int:
    """End of the events at the time of `at`."""
    stop = at + 1
    while stop < times.shape[0] and times[stop] == times[at]:
        stop += 1
    return stop


@kernel
def _killed(kills: U32, at: int, stop: int) -> np.uint32:
    """The gaps that any of the events ends."""
    killed = np.uint32(0)
    for i in range(at, stop):
        killed |= kills[i]
    return killed


@kernel
def _follow(
    times: I64, steps: U32, kills: U32, start: int, length: int, within: int, gap: int, strict_ties: bool
) -> tuple[int, int, int]:
    """(depth, end or NEVER, where a next attempt may start) of the attempt that enters at `start`.

    With the start given, the latest time at which a step was reached is as good as any earlier one for all that may
    follow. The attempt is over when it converted, when its time is up, and when nothing of it is left.
    """
    last = np.full(length, NEVER, np.int64)
    fresh = np.full(length, NEVER, np.int64)
    entered = times[start]
    at = start
    # Events at the instant of the entry take part, also those that come before it in the arrays.
    while at > 0 and times[at - 1] == entered:
        at -= 1
    depth = 0
    while at < times.shape[0]:
        now, stop = times[at], same_time(times, at)
        # Only this attempt is over: the next one may enter with the events of this very instant.
        if within >= 0 and now - entered > within:
            return depth, NEVER, at
        fresh[:] = NEVER
        for begin in range(length):
            if begin == 0:
                if now != entered:
                    continue
            elif last[begin - 1] == NEVER or (gap >= 0 and now - last[begin - 1] > gap):
                continue
            end = begin
            while end < length and can_fill(steps, at, stop, begin, end):
                fresh[end] = now
                depth = max(depth, end + 1)
                end += 1
                if strict_ties:
                    break
        # Converted: the next attempt may begin after this instant only, or it would use events of this one.
        if fresh[length - 1] != NEVER:
            return depth, now, stop
        killed, alive = _killed(kills, at, stop), False
        for step in range(length - 1):
            if fresh[step] != NEVER:
                last[step] = now
            # `elif`: what ends a gap must lie strictly between its two steps in time, so a step reached at this instant
            # stays.
            elif (killed >> np.uint32(step)) & np.uint32(1) or (gap >= 0 and now - last[step] > gap):
                last[step] = NEVER
            alive = alive or last[step] != NEVER
        if not alive:
            return depth, NEVER, at
        at = stop
    return depth, NEVER, times.shape[0]


@kernel
def _deepest(
    times: I64, steps: U32, kills: U32, length: int, within: int, gap: int, strict_ties: bool
) -> tuple[int, int, int]:
    """(depth, entry position, end or NEVER) of the deepest attempt, the earliest of those, its earliest end."""
    depth = _greatest_depth(times, steps, kills, length, within, gap, strict_ties)
    if depth == 0:
        return 0, -1, NEVER
    entry, end = _earliest_attempt(times, steps, kills, depth, within, gap, strict_ties)
    return depth, entry, end if depth == length else NEVER


@kernel
def _greatest_depth(times: I64, steps: U32, kills: U32, length: int, within: int, gap: int, strict_ties: bool) -> int:
    """Most steps that any attempt completes.

    Per step a queue of (time reached, latest possible start) with falling starts. Once entries too old for the gap have
    left, its head is the latest start from which the next step can be reached.
    """
    n = times.shape[0]
    reached_at = np.empty((length, n), np.int64)
    start_of = np.empty((length, n), np.int64)
    head = np.zeros(length, np.int64)
    tail = np.zeros(length, np.int64)
    fresh = np.empty(length, np.int64)
    depth, at = 0, 0
    while at < n and depth < length:
        now, stop = times[at], same_time(times, at)
        fresh[:] = NEVER
        for begin in range(length):
            base = now
            if begin > 0:
                before = begin - 1
                # Dropped for good: `now` only grows. Each entry is added and dropped once, so all of it is linear.
                while gap >= 0 and head[before] < tail[before] and now - reached_at[before, head[before]] > gap:
                    head[before] += 1
                if head[before] == tail[before]:
                    continue
                base = start_of[before, head[before]]
                if within >= 0 and now - base > within:
                    continue
            end = begin
            while end < length and can_fill(steps, at, stop, begin, end):
                fresh[end] = max(fresh[end], base)
                depth = max(depth, end + 1)
                end += 1
                if strict_ties:
                    break
        killed = _killed(kills, at, stop)
        for step in range(length):
            if (killed >> np.uint32(step)) & np.uint32(1):
                head[step] = tail[step]
            if fresh[step] != NEVER:
                # An older entry with no later start is never the better one; without these, starts fall.
                while tail[step] > head[step] and start_of[step, tail[step] - 1] <= fresh[step]:
                    tail[step] -= 1
                reached_at[step, tail[step]] = now
                start_of[step, tail[step]] = fresh[step]
                tail[step] += 1
        at = stop
    return depth


@kernel
def _earliest_attempt(
    times: I64, steps: U32, kills: U32, length: int, within: int, gap: int, strict_ties: bool
) -> tuple[int, int]:
    """(position of the earliest entry from which all steps can be completed, the earliest end from there).

    The mirror image of _greatest_depth, from the last event to the first: per step a queue of (time, earliest end).
    """
    n = times.shape[0]
    reached_at = np.empty((length, n), np.int64)
    end_of = np.empty((length, n), np.int64)
    head = np.zeros(length, np.int64)
    tail = np.zeros(length, np.int64)
    fresh = np.empty(length, np.int64)
    entry, entry_end, stop = -1, NEVER, n
    while stop > 0:
        now, at = times[stop - 1], stop - 1
        while at > 0 and times[at - 1] == now:
            at -= 1
        fresh[:] = NEVER
        for last in range(length - 1, -1, -1):
            base = now
            if last < length - 1:
                after = last + 1
                while gap >= 0 and head[after] < tail[after] and reached_at[after, head[after]] - now > gap:
                    head[after] += 1
                if head[after] == tail[after]:
                    continue
                base = end_of[after, head[after]]
            begin = last
            while begin >= 0 and can_fill(steps, at, stop, begin, last):
                if fresh[begin] == NEVER or base < fresh[begin]:
                    fresh[begin] = base
                begin -= 1
                if strict_ties:
                    break
        # Overwritten as the walk goes back: what stands here at its end is the earliest entry.
        if fresh[0] != NEVER and (within < 0 or fresh[0] - now <= within):
            entry, entry_end = _next_entry(steps, at), fresh[0]
        killed = _killed(kills, at, stop)
        for step in range(length):
            # An end of gap g shuts out attempts that reached step g + 1 later.
            if step > 0 and (killed >> np.uint32(step - 1)) & np.uint32(1):
                head[step] = tail[step]
            if fresh[step] != NEVER:
                # The mirror image too: the earlier event with no later end stays in reach of the gap for longer.
                while tail[step] > head[step] and end_of[step, tail[step] - 1] >= fresh[step]:
                    tail[step] -= 1
                reached_at[step, tail[step]] = now
                end_of[step, tail[step]] = fresh[step]
                tail[step] += 1
        stop = at
    return entry, entry_end
