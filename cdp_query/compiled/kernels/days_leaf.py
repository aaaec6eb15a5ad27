"""Numbers of distinct local dates per user, in windows of at most 64 days: a bit for each date."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.event_periods import period_of, period_table, periods_of_events, rows_of_events
from cdp_query.compiled.kernels.event_walk import run_arrays
from cdp_query.compiled.kernels.layout import (
    LEAF_HIGH,
    LEAF_LOW,
    LEAF_NEGATED,
)
from cdp_store.arrays import I64, U8, U16, U32, U64
from cdp_store.kernels.jit import leaf


@leaf
def mark_days(leaf_row: I64, chunk: I64, first: int, last: int, passes: U8, rows: U16, periods: U32, days: U64) -> None:
    """Sets the bit of its date in days[row] for each event of the runs that passes.

    `rows` u16 and `periods` u32 are working memory.
    """
    run_rows, run_starts = run_arrays(chunk, last)
    # Over events, not runs: a loop over a run's few events would end unpredictably.
    own = rows[: rows_of_events(run_rows, run_starts, first, last, rows)]
    periods_of_events(leaf_row, chunk, int(np.int64(run_starts[first])), periods[: own.shape[0]])
    for i in range(np.uint64(own.shape[0])):
        # What lies outside of the days does not pass.
        days[own[i]] |= np.uint64(passes[i]) << np.uint64(periods[i])


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
