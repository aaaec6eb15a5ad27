"""Last times per user."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U16, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def last_times(
    run_rows: U16, run_starts: U32, run_offsets: I64, times: AnyArray, base: int, mask: Bools, last: I64
) -> None:
    """last[row] = max(last[row], base + last time of its run with mask); `mask` is empty where all events count."""
    masked = mask.shape[0] > 0
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            start, stop = np.int64(run_starts[run]), np.int64(run_starts[run + 1])
            # From the end: mostly the very last event of a run decides.
            while masked and stop > start and not mask[stop - 1]:
                stop -= 1
            if stop > start:
                row = first + run_rows[run]
                last[row] = max(last[row], base + np.int64(times[stop - 1]))
