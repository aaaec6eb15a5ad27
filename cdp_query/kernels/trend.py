"""Events and users per calendar period: one pass over a chunk, whose events stand by (row, time)."""

from __future__ import annotations

import numpy as np

from cdp_query.kernels.exact_sum import add_to_limbs
from cdp_store.arrays import I32, I64, U16, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def count_by_period(
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
    shared: I32,
    seen: Bools,
    events: I64,
    users: I64,
    active: Bools,
) -> None:
    """Per period add the events to events[period] and the rows to users[period], and set active[row].

    delta + times[i] is ms since the first edge; edges i64 count from there too. Only rows with `counted` take part. A
    chunk holds the events of a row and period side by side, so each stretch of them is one user. A period that other
    chunks touch too has a slot, shared[period] >= 0, and seen[slot, row] is True once the user was counted there.
    `mask` is empty where all events count. Reads 6 bytes a run and 4 an event, 5 with a mask.
    """
    masked = mask.shape[0] > 0
    for morsel in range(run_offsets.shape[0] - 1):
        first = morsel << 16
        for run in range(run_offsets[morsel], run_offsets[morsel + 1]):
            row = first + run_rows[run]
            if not counted[row]:
                continue
            last_period = -1
            for i in range(run_starts[run], run_starts[run + 1]):
                if masked and not mask[i]:
                    continue
                at = delta + np.int64(times[i])
                period = blocks[at >> block_bits]
                while at >= edges[period + 1]:
                    period += 1
                events[period] += 1
                # The events of a period stand side by side in a user's run: another period than before is a user to
                # count in it.
                if period != last_period:
                    last_period = period
                    slot = shared[period]
                    # No other chunk has events of this period: nobody can have been counted in it before.
                    if slot < 0:
                        users[period] += 1
                    elif not seen[slot, row]:
                        seen[slot, row] = True
                        users[period] += 1
            if last_period >= 0:
                active[row] = True


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
