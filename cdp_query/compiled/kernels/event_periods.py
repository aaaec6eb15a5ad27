"""Calendar periods of events, and the row of each event: what leaves that look at every event share."""

from __future__ import annotations

from typing import Any

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u32s
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
    LEAF_EVEN_MS,
)
from cdp_store.arrays import I64, U16, U32, AnyArray
from cdp_store.kernels.jit import inlined, leaf
from cdp_store.kernels.words import put_word

_FOUR_TIMES = np.uint64(0x0001000100010001)


@inlined
def period_table(leaf_row: I64) -> tuple[I64, U32, np.uint64]:
    """(edges, blocks, block_bits) of a leaf's periods, see Periods."""
    edges = i64s(leaf_row[LEAF_EDGES], leaf_row[LEAF_EDGE_COUNT])
    return edges, u32s(leaf_row[LEAF_BLOCKS], leaf_row[LEAF_BLOCK_COUNT]), np.uint64(leaf_row[LEAF_BLOCK_BITS])


@leaf
def period_of(edges: I64, blocks: U32, bits: np.uint64, since: int) -> np.uint64:
    """The period of the instant `since` ms after the first edge; it lies before the last one."""
    period, time = np.uint64(blocks[np.uint64(since) >> bits]), since + edges[0]
    while time >= edges[period + np.uint64(1)]:
        period += np.uint64(1)
    return period


@inlined
def _inside(since: int, end: int) -> int:
    return min(max(since, 0), end)


@leaf
def _even_periods(times: AnyArray, delta: int, start: int, end: int, width: int, periods: U32) -> None:
    inverse = 1.0 / width
    for i in range(np.uint64(periods.shape[0])):
        since = _inside(int(delta + np.int64(times[np.uint64(start) + i])), end)
        # A product is cheaper than a division of integers, and off by one at most.
        period = np.int64(np.float64(since) * inverse)
        period -= np.int64(period * width > since)
        period += np.int64((period + 1) * width <= since)
        periods[i] = np.uint32(period)


@leaf
def _listed_periods(
    times: AnyArray, delta: int, start: int, end: int, edges: I64, blocks: U32, bits: np.uint64, periods: U32
) -> None:
    for i in range(np.uint64(periods.shape[0])):
        since = _inside(int(delta + np.int64(times[np.uint64(start) + i])), end)
        periods[i] = np.uint32(period_of(edges, blocks, bits, since))


@leaf
def periods_of_events(leaf_row: I64, chunk: I64, start: int, periods: U32) -> None:
    """periods[i] = the period of event start + i of a chunk; what lies outside of all counts for the nearest one."""
    edges, blocks, bits = period_table(leaf_row)
    delta, events, address = chunk[CHUNK_BASE_MS] - edges[0], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    end, width = edges[edges.shape[0] - 1] - edges[0] - 1, leaf_row[LEAF_EVEN_MS]
    wide, narrow = i64s(address, events), u32s(address, events)
    if chunk[CHUNK_IS_WIDE]:
        if width > 0:
            _even_periods(wide, delta, start, end, width, periods)
        else:
            _listed_periods(wide, delta, start, end, edges, blocks, bits, periods)
    elif width > 0:
        _even_periods(narrow, delta, start, end, width, periods)
    else:
        _listed_periods(narrow, delta, start, end, edges, blocks, bits, periods)


@leaf
def rows_of_events(run_rows: U16, run_starts: U32, first: int, last: int, rows: U16) -> int:
    """rows[:n] = the row of each event of the runs first:last; `rows` is four places longer at least. Returns n."""
    origin, address = int(np.int64(run_starts[first])), rows.ctypes.data
    for run in range(np.uint64(first), np.uint64(last)):
        four: Any = np.uint64(run_rows[run]) * _FOUR_TIMES
        start = int(np.int64(run_starts[run])) - origin
        stop = int(np.int64(run_starts[run + np.uint64(1)])) - origin
        # Runs are short, and the next one overwrites what is too much: most need no loop.
        put_word(address, start << 1, four)
        start += 4
        while start < stop:
            put_word(address, start << 1, four)
            start += 4
    return int(np.int64(run_starts[last])) - origin
