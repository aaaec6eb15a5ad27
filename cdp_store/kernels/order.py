"""Sorting events by (row, time), stable in arrival."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U32
from cdp_store.kernels.jit import kernel


@kernel
def stable_order_by_digit(keys: U32, shift: int, bits: int, order: I64, out: I64) -> None:
    """One radix pass: out = order, stably sorted by bits [shift, shift + bits) of keys[order]; 36 bytes a key."""
    mask = np.uint32((1 << bits) - 1)
    starts = np.zeros((1 << bits) + 1, np.int64)
    for i in range(keys.shape[0]):
        starts[((keys[i] >> np.uint32(shift)) & mask) + 1] += 1
    for digit in range(1 << bits):
        starts[digit + 1] += starts[digit]
    for i in range(order.shape[0]):
        digit = (keys[order[i]] >> np.uint32(shift)) & mask
        out[starts[digit]] = order[i]
        starts[digit] += 1


@kernel
def stable_order_by_row_time(rows: U32, times: I64, order: I64) -> None:
    """Turn `order`, stably sorted by row already, into an order by (row, time), stable: merge sort inside each row.

    Runs that are in time order already, the usual case, cost one pass.
    """
    n = order.shape[0]
    start = 0
    while start < n:
        stop = start + 1
        sorted_run = True
        while stop < n and rows[order[stop]] == rows[order[start]]:
            if times[order[stop]] < times[order[stop - 1]]:
                sorted_run = False
            stop += 1
        if not sorted_run:
            # Insertion for short runs, as of nearly all users: it allocates nothing, and moves only what is late.
            if stop - start <= 32:
                for i in range(start + 1, stop):
                    moving = order[i]
                    j = i
                    # Only past later ones: equal times stay in order of arrival.
                    while j > start and times[order[j - 1]] > times[moving]:
                        order[j] = order[j - 1]
                        j -= 1
                    order[j] = moving
            else:
                run = order[start:stop].copy()
                # The one of its sorts that numba has as stable.
                order[start:stop] = run[np.argsort(times[run], kind="mergesort")]
        start = stop
