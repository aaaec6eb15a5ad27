"""Counting along each user's events, which come in time order inside each row."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I32, I64, U32, Bools
from cdp_store.kernels.jit import kernel


@kernel
def mark_nth(rows: U32, number: int, counts: U32, hits: Bools) -> None:
    """hits[i] = event i is the number-th of its row, counts[row] having been there before; 5 bytes an event."""
    for i in range(rows.shape[0]):
        counts[rows[i]] += np.uint32(1)
        hits[i] = counts[rows[i]] == number


@kernel
def count_full_periods(rows: U32, periods: I64, times: int, last_period: I32, inside: U32, full: U32) -> None:
    """full[row] += 1 when the times-th event of a row in one period comes; 12 bytes an event.

    inside[row] are the events so far in last_period[row].
    """
    for i in range(rows.shape[0]):
        row = rows[i]
        if last_period[row] != periods[i]:
            last_period[row] = periods[i]
            inside[row] = np.uint32(0)
        inside[row] += np.uint32(1)
        # `==`: the events after it in the same period must not count it again.
        if inside[row] == times:
            full[row] += np.uint32(1)
