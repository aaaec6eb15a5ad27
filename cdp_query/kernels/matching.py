"""Bipartite matching of steps with events: tests whether different events, given by their step sets, fill them."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U32, Bools
from cdp_store.kernels.jit import kernel


@kernel
def can_fill(steps: U32, at: int, stop: int, begin: int, end: int) -> bool:
    """Tests whether different events of at..stop-1 can fill steps begin..end (bipartite matching, after Kuhn)."""
    wanted = end - begin + 1
    if stop - at < wanted:
        return False
    pool = distinct_enough(steps, at, stop, begin, end)
    owner = np.full(pool.shape[0], -1, np.int64)
    visited = np.zeros(pool.shape[0], np.bool_)
    for step in range(begin, end + 1):
        visited[:] = False
        # Final: a step without a path has none after others were given events either (Kuhn), so one failure decides.
        if not assign(pool, step, owner, visited):
            return False
    return True


@kernel
def distinct_enough(steps: U32, at: int, stop: int, begin: int, end: int) -> U32:
    """The step sets of the events, cut to begin..end, each set at most as often as there are steps to fill.

    Thousands of equal events at one time then cost no more than a few.
    """
    wanted = end - begin + 1
    window = np.uint32(((1 << wanted) - 1) << begin)
    room = stop - at
    # There are 2**wanted sets, each kept `wanted` times at most; of more steps that bound is of no use.
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
def assign(pool: U32, step: int, owner: I64, visited: Bools) -> bool:
    """Give `step` an event, moving earlier owners along an augmenting path (iterative depth-first search)."""
    # A search visits each event once: that bounds the depth of the stack, and the loop.
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
