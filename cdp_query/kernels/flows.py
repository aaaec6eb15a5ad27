"""Flows: which events lie within reach of an anchor, and the names that follow or precede it.

Rows are those inside a morsel. An empty mask stands for all events.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel

FIRST = 0
LAST = 1
EACH = 2


@kernel
def bound_anchors(
    run_rows: U16,
    run_starts: U32,
    first_run: int,
    stop_run: int,
    times: AnyArray,
    base_ms: int,
    mask: Bools,
    first_ms: I64,
    last_ms: I64,
) -> None:
    """Lower first_ms[row] and raise last_ms[row] to the times of the anchors of some runs; 5 or 9 bytes an event."""
    for run in range(first_run, stop_run):
        row = run_rows[run]
        for at in range(run_starts[run], run_starts[run + 1]):
            if mask.shape[0] == 0 or mask[at]:
                now = base_ms + np.int64(times[at])
                first_ms[row] = min(first_ms[row], now)
                last_ms[row] = max(last_ms[row], now)


@kernel
def select_reachable(
    run_rows: U16,
    run_starts: U32,
    first_run: int,
    stop_run: int,
    times: AnyArray,
    base_ms: int,
    low_ms: I64,
    high_ms: I64,
    out_at: I64,
    out_rows: U32,
    out_times: I64,
) -> int:
    """Write position, row and time of the events in [low_ms, high_ms] of their row; returns their number.

    4 or 8 bytes an event of the rows that have anchors; a run ends at the first event beyond reach.
    """
    found = 0
    for run in range(first_run, stop_run):
        row = run_rows[run]
        if low_ms[row] > high_ms[row]:
            continue
        for at in range(run_starts[run], run_starts[run + 1]):
            now = base_ms + np.int64(times[at])
            if now > high_ms[row]:
                break
            if now >= low_ms[row]:
                out_at[found], out_rows[found], out_times[found] = at, row, now
                found += 1
    return found


@kernel
def walk_flows(
    rows: U32,
    times: I64,
    names: U16,
    anchors: U8,
    is_node: Bools,
    rank: U16,
    within: int,
    backward: bool,
    mode: int,
    until_ms: int,
    out_paths: U16,
) -> tuple[int, int]:
    """(anchors that count, how many of them may still grow): out_paths[k] are the names, plus 1, that anchor k meets.

    Events sorted by (row, time, name). Events of the anchor's own instant follow it, or looked at backwards precede
    it. is_node[name] are the names that are looked at; of several anchors at the instant that decides, the one whose
    name has the least rank[name] is taken. within < 0 is no limit. O(events + anchors x depth).
    """
    n, depth = rows.shape[0], out_paths.shape[1]
    node_at = np.empty(n, np.int64)
    before = np.empty(n + 1, np.int64)
    nodes = 0
    # node_at: position of each node; before[i]: number of the nodes before event i.
    for i in range(n):
        before[i] = nodes
        if is_node[names[i]]:
            node_at[nodes] = i
            nodes += 1
    before[n] = nodes
    found, growing, at = 0, 0, 0
    while at < n:
        stop = at
        while stop < n and rows[stop] == rows[at]:
            stop += 1
        chosen = -1 if mode == EACH else _chosen_anchor(times, names, anchors, rank, at, stop, mode)
        first_of_instant, next_instant = at, at
        for i in range(at, stop):
            if times[i] != times[first_of_instant]:
                first_of_instant = i
            if not anchors[i] or (mode != EACH and i != chosen):
                continue
            # Only ever moved on: the anchors of a row come in order of time.
            while next_instant < stop and times[next_instant] <= times[i]:
                next_instant += 1
            # Node numbers: from the anchor's instant to the end of the row, or from there down to its start.
            start, end = before[first_of_instant], before[stop]
            if backward:
                start, end = before[next_instant] - 1, before[at] - 1
            filled = _meet(times, names, node_at, start, end, i, within, out_paths[found])
            if not backward and filled < depth and within >= 0 and times[i] + within > until_ms:
                growing += 1
            found += 1
        at = stop
    return found, growing


@kernel
def _chosen_anchor(times: I64, names: U16, anchors: U8, rank: U16, at: int, stop: int, mode: int) -> int:
    """Position of the first or last anchor of a row, at one instant that of the least rank; -1 without any."""
    chosen = -1
    for i in range(at, stop):
        if not anchors[i]:
            continue
        if chosen < 0 or (mode == LAST and times[i] > times[chosen]):
            chosen = i
        elif times[i] == times[chosen] and rank[names[i]] < rank[names[chosen]]:
            chosen = i
    return chosen


@kernel
def _meet(times: I64, names: U16, node_at: I64, start: int, stop: int, anchor: int, within: int, out: U16) -> int:
    """Write the names, plus 1, of the nodes from `start` towards `stop` that an anchor reaches; their number."""
    filled, step = 0, 1 if start <= stop else -1
    for k in range(start, stop, step):
        i = node_at[k]
        # The anchor's name may be one of the nodes; an event does not follow itself.
        if i == anchor:
            continue
        if within >= 0 and abs(times[i] - times[anchor]) > within:
            break
        # 0 is the end of a path that is shorter than `depth`.
        out[filled] = names[i] + np.uint16(1)
        filled += 1
        if filled == out.shape[0]:
            break
    return filled
