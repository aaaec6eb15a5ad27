"""Calendar periods with events of each row: one pass over a chunk, a bit per row and period."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I32, I64, U16, U32, U64, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def mark_periods(
    run_rows: U16,
    run_starts: U32,
    run_offsets: I64,
    times: AnyArray,
    base: int,
    mask: Bools,
    edges: I64,
    blocks: I32,
    block_bits: int,
    first_period: int,
    active: U64,
) -> None:
    """Set bit p of active[row] for each event in the period first_period + p.

    `active` is u64[rows, words], `edges` i64 are epoch ms, `blocks` the table of periods.Periods over them. `mask` is
    empty where all events count. Reads 6 bytes a run and 4 an event, 5 with a mask.
    """
    masked = mask.shape[0] > 0
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            row = first + run_rows[run]
            for i in range(run_starts[run], run_starts[run + 1]):
                if masked and not mask[i]:
                    continue
                at = base + np.int64(times[i])
                # From the first period of the instant's block on; the last edge is later than the instant.
                period = blocks[(at - edges[0]) >> block_bits]
                while at >= edges[period + 1]:
                    period += 1
                place = period - first_period
                active[row, place >> 6] |= np.uint64(1) << np.uint64(place & 63)
