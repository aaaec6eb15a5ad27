"""Events and users of calendar periods."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.event_periods import periods_of_events, rows_of_events
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import LEAF_EDGE_COUNT
from cdp_store.arrays import I64, U8, U16, U32, U64
from cdp_store.kernels.jit import leaf


@leaf
def tally_chunk(
    leaf_row: I64,
    chunk: I64,
    first: int,
    last: int,
    passes: U8,
    wanted: U8,
    rows: U16,
    periods: U32,
    latest: U32,
    seen: U64,
    output: I64,
) -> None:
    """Adds the events of each run to their periods, and its row once to each of these, if the row is wanted.

    latest u32[rows] is one more than the newest period of a row in earlier chunks, and 0 if there is none. Bit i of
    seen u64[rows] tells whether the row was counted i periods before it. So no event may lie 64 periods before one of
    an earlier chunk. output i64[periods of events, then periods of users]. `rows` u16 and `periods` u32 are
    working memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    # Over events, not runs: a loop over a run's few events would end unpredictably.
    own = rows[: rows_of_events(run_rows, run_starts, first, last, rows)]
    periods_of_events(leaf_row, chunk, int(np.int64(run_starts[first])), periods[: own.shape[0]])
    is_masked, users = passes.shape[0] > 0, np.uint64(leaf_row[LEAF_EDGE_COUNT] - 1)
    for i in range(np.uint64(own.shape[0])):
        row = own[i]
        if not wanted[row] or (is_masked and not passes[i]):
            continue
        # Bit 0 of the periods counted is the newest of them: a newer one shifts the others up.
        period, newest = np.uint64(periods[i]), np.int64(latest[row])
        ahead = int(np.int64(period) + 1 - newest)
        newer, older = max(ahead, 0), max(-ahead, 0)
        # A product instead of a branch, which could not be predicted: periods so long ago are forgotten.
        counted = (seen[row] << np.uint64(newer & 63)) * np.uint64(newer < 64)
        bit = np.uint64(1) << np.uint64(older)
        output[period] += 1
        output[users + period] += np.int64((counted & bit) == np.uint64(0))
        latest[row], seen[row] = np.uint32(newest + newer), counted | bit
