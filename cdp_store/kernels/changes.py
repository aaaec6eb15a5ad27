"""Reading the history of attributes."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I32, I64, U16, U32, AnyArray
from cdp_store.kernels.jit import kernel


@kernel
def latest_change_by_row(
    run_rows: U16,
    run_starts: U32,
    run_offsets: I64,
    times: AnyArray,
    base: int,
    until: int,
    chunk: int,
    best_ms: I64,
    best_chunk: I32,
    best_index: I64,
) -> None:
    """Raise best_* (by row of the partition) to the last change at or before `until`; equal times: the later one.

    Call for chunks in order of arrival. A run is in order of time, so it is read from its end: 6 bytes a run, 4 to 8
    a change that is too late and one that is not.
    """
    for morsel in range(run_offsets.shape[0] - 1):
        first_row = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            start, last = np.int64(run_starts[run]), np.int64(run_starts[run + 1]) - 1
            while last >= start and base + times[last] > until:
                last -= 1
            row = first_row + run_rows[run]
            # `>=`: chunks come in order of arrival, and at one instant the later arrival is in force.
            if last >= start and base + times[last] >= best_ms[row]:
                best_ms[row] = base + times[last]
                best_chunk[row] = chunk
                best_index[row] = last
