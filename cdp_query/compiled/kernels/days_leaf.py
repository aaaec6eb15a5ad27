"""Numbers of distinct local dates per user, in windows of at most 64 days: a bit for each date."""

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
    LEAF_HIGH,
    LEAF_LOW,
    LEAF_NEGATED,
)
from cdp_store.arrays import I64, U8, U16, U32, U64, AnyArray
from cdp_store.kernels.jit import leaf


@leaf
def _mark(
    times: AnyArray, delta: int, start: int, rows: U16, passes: U8, edges: I64, blocks: U32, bits: np.uint64, days: U64
) -> None:
    end = edges[edges.shape[0] - 1] - edges[0] - 1
    for i in range(np.uint64(rows.shape[0])):
        # What lies outside of the days does not pass, and counts for none.
        since = min(max(delta + np.int64(times[np.uint64(start) + i]), 0), end)
        days[rows[i]] |= np.uint64(passes[i]) << period_of(edges, blocks, bits, int(since))


@leaf
def mark_days(leaf_row: I64, chunk: I64, first: int, last: int, passes: U8, rows: U16, days: U64) -> None:
    """Sets the bit of its date in days[row] for each event of the runs that passes; `rows` u16 is working memory."""
    run_rows, run_starts = run_arrays(chunk, last)
    edges, blocks, bits = period_table(leaf_row)
    delta, events, address = chunk[CHUNK_BASE_MS] - edges[0], chunk[CHUNK_EVENTS], chunk[CHUNK_TIMES]
    # Over events, not runs: a loop over a run's few events would end unpredictably.
    own = rows[: rows_of_events(run_rows, run_starts, first, last, rows)]
    start = int(np.int64(run_starts[first]))
    if chunk[CHUNK_IS_WIDE]:
        _mark(i64s(address, events), delta, start, own, passes, edges, blocks, bits, days)
    else:
        _mark(u32s(address, events), delta, start, own, passes, edges, blocks, bits, days)


@leaf
def day_bit(leaf_row: I64, time: int) -> np.uint64:
    """The bit of the date of an instant."""
    edges, blocks, bits = period_table(leaf_row)
    return np.uint64(1) << period_of(edges, blocks, bits, time - edges[0])


@leaf
def compare_days(leaf_row: I64, days: U64, mask: U8) -> None:
    """mask[i] = the number of dates of row i is as wanted."""
    low, high, flip = leaf_row[LEAF_LOW], leaf_row[LEAF_HIGH], np.uint8(leaf_row[LEAF_NEGATED])
    for i in range(mask.shape[0]):
        count = _bits(days[i])
        mask[i] = np.uint8((count >= low) & (count <= high)) ^ flip


@leaf
def _bits(word: np.uint64) -> int:
    """Number of bits that are set (Hacker's Delight, 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int(np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56)))
