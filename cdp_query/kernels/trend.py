"""Sums of numbers per calendar period."""

from __future__ import annotations

import numpy as np

from cdp_query.kernels.exact_sum import add_to_limbs
from cdp_store.arrays import I32, I64, U16, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def period_of_events(
    run_rows: U16,
    run_starts: U32,
    run_offsets: I64,
    times: AnyArray,
    delta: int,
    mask: Bools,
    edges: I64,
    blocks: I32,
    block_bits: int,
    counted: Bools,
    periods: I32,
) -> None:
    """periods[i] = the period of an event with mask whose row is counted, -1 of others; reads 5 bytes an event."""
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            takes_part = counted[first + run_rows[run]]
            for i in range(run_starts[run], run_starts[run + 1]):
                periods[i] = -1
                if takes_part and mask[i]:
                    at = delta + np.int64(times[i])
                    period = blocks[at >> block_bits]
                    while at >= edges[period + 1]:
                        period += 1
                    periods[i] = period


@kernel
def sum_integers_by_period(periods: I32, values: I64, counts: I64, low: I64, high: I64) -> None:
    """Add each value whose period is not negative: the sum of a period is high * 2**32 + low; exact for 2**31."""
    for i in range(periods.shape[0]):
        period = periods[i]
        if period >= 0:
            counts[period] += 1
            # Halves in two sums: neither can overflow before 2**31 values, where one sum of int64 could with two.
            low[period] += values[i] & 0xFFFFFFFF
            high[period] += values[i] >> 32


@kernel
def sum_floats_by_period(periods: I32, bits: I64, counts: I64, limbs: I64) -> None:
    """Add each float64, given by its bits, to the fixed-point limbs[period] of exact_sum; exact for 2**28 values."""
    for i in range(periods.shape[0]):
        period = periods[i]
        if period >= 0:
            counts[period] += 1
            add_to_limbs(limbs[period], bits[i])
