"""Events and users of calendar periods."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_IS_WIDE,
    CHUNK_TIMES,
    LEAF_BLOCK_BITS,
    LEAF_BLOCK_COUNT,
    LEAF_BLOCKS,
    LEAF_EDGE_COUNT,
    LEAF_EDGES,
)
from cdp_store.arrays import I64, U8, U16, U32, U64, AnyArray
from cdp_store.kernels.jit import leaf


@leaf
def _tally(
    run_rows: U16,
    run_starts: U32,
    times: AnyArray,
    delta: int,
    first: int,
    last: int,
    passes: U8,
    wanted: U8,
    edges: I64,
    blocks: U32,
    bits: int,
    latest: U32,
    seen: U64,
    output: I64,
) -> None:
    origin, is_masked = np.uint64(run_starts[first]), passes.shape[0] > 0
    shift, periods, zero = np.uint64(bits), np.uint64(edges.shape[0] - 1), edges[0]
    # Over events, not runs: a loop over a run's few events would end unpredictably.
    run = np.uint64(first)
    for i in range(origin, np.uint64(run_starts[last])):
        run += np.uint64(i == np.uint64(run_starts[run + np.uint64(1)]))
        row = run_rows[run]
        if not wanted[row] or (is_masked and not passes[i - origin]):
            continue
        since = delta + np.int64(times[i])
        period = np.uint64(blocks[np.uint64(since) >> shift])
        while since + zero >= edges[period + np.uint64(1)]:
            period += np.uint64(1)
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
    leaf_row: I64, chunk: I64, first: int, last: int, passes: U8, wanted: U8, latest: U32, seen: U64, output: I64
) -> None:
    """Adds the events of each run to their periods, and its row once to each of these, if the row is wanted.

    latest u32[rows] is one more than the newest period of a row in earlier chunks, and 0 if there is none. Bit i of
    seen u64[rows] tells whether the row was counted i periods before it. So no event may lie 64 periods before one of
    an earlier chunk. output i64[periods of events, then periods of users].
    """
    run_rows, run_starts = run_arrays(chunk, last)
    edges, bits = i64s(leaf_row[LEAF_EDGES], leaf_row[LEAF_EDGE_COUNT]), leaf_row[LEAF_BLOCK_BITS]
    blocks = u32s(leaf_row[LEAF_BLOCKS], leaf_row[LEAF_BLOCK_COUNT])
    delta, events, address = chunk[CHUNK_BASE_MS] - edges[0], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    if chunk[CHUNK_IS_WIDE]:
        wide = i64s(address, events)
        _tally(
            run_rows, run_starts, wide, delta, first, last, passes, wanted, edges, blocks, bits, latest, seen, output
        )
    else:
        narrow = u32s(address, events)
        _tally(
            run_rows, run_starts, narrow, delta, first, last, passes, wanted, edges, blocks, bits, latest, seen, output
        )
