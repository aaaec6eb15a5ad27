"""Events and users of calendar periods."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_periods import period_of, period_table, rows_of_events
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_IS_WIDE,
    CHUNK_TIMES,
)
from cdp_store.arrays import I64, U8, U16, U32, U64, AnyArray
from cdp_store.kernels.jit import leaf


@leaf
def _tally(
    times: AnyArray,
    delta: int,
    start: int,
    rows: U16,
    passes: U8,
    wanted: U8,
    edges: I64,
    blocks: U32,
    bits: np.uint64,
    latest: U32,
    seen: U64,
    output: I64,
) -> None:
    is_masked, periods = passes.shape[0] > 0, np.uint64(edges.shape[0] - 1)
    for i in range(np.uint64(rows.shape[0])):
        row = rows[i]
        if not wanted[row] or (is_masked and not passes[i]):
            continue
        period = period_of(edges, blocks, bits, int(delta + np.int64(times[np.uint64(start) + i])))
        # Bit 0 of the periods counted is the newest of them: a newer one shifts the others up.
        newest = np.int64(latest[row])
        ahead = int(np.int64(period) + 1 - newest)
        newer, older = max(ahead, 0), max(-ahead, 0)
        counted, bit = seen[row] << np.uint64(min(newer, 63)), np.uint64(1) << np.uint64(older)
        output[period] += 1
        output[periods + period] += np.int64((counted & bit) == np.uint64(0))
        latest[row], seen[row] = np.uint32(newest + newer), counted | bit


@leaf
def tally_chunk(
    leaf_row: I64,
    chunk: I64,
    first: int,
    last: int,
    passes: U8,
    wanted: U8,
    rows: U16,
    latest: U32,
    seen: U64,
    output: I64,
) -> None:
    """Adds the events of each run to their periods, and its row once to each of these, if the row is wanted.

    latest u32[rows] is one more than the newest period of a row in earlier chunks, and 0 if there is none. Bit i of
    seen u64[rows] tells whether the row was counted i periods before it. So no event may lie 64 periods before one of
    an earlier chunk. output i64[periods of events, then periods of users]. `rows` u16 is working memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    edges, blocks, bits = period_table(leaf_row)
    delta, events, address = chunk[CHUNK_BASE_MS] - edges[0], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    # Over events, not runs: a loop over a run's few events would end unpredictably.
    own = rows[: rows_of_events(run_rows, run_starts, first, last, rows)]
    start = int(np.int64(run_starts[first]))
    if chunk[CHUNK_IS_WIDE]:
        wide = i64s(address, events)
        _tally(wide, delta, start, own, passes, wanted, edges, blocks, bits, latest, seen, output)
    else:
        narrow = u32s(address, events)
        _tally(narrow, delta, start, own, passes, wanted, edges, blocks, bits, latest, seen, output)
