"""Per-user aggregates: one pass over the events of a chunk into accumulators by row."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import F64, I32, I64, U16, U32, AnyArray, Bools
from cdp_store.jit import kernel


@kernel
def count_by_row(rows: U16, offsets: I64, counts: U32) -> None:
    """counts[row] += 1 per event; reads 2 bytes an event, accumulates in a window of 256 KB per morsel."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            counts[first + rows[i]] += np.uint32(1)


@kernel
def count_by_row_where(rows: U16, offsets: I64, mask: Bools, counts: U32) -> None:
    """counts[row] += 1 per event with mask; reads 3 bytes an event. Adding the mask avoids a branch per event."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            counts[first + rows[i]] += np.uint32(mask[i])


@kernel
def sum_integers_by_row(
    rows: U16, offsets: I64, values: AnyArray, base: int, mask: Bools, sums: I64, carries: I32
) -> None:
    """Add base + value per event with mask to the exact sum of its row: sums[row] + carries[row] * 2**64.

    A sum that leaves int64 on the way and comes back is right in the end, whatever the order of its terms.
    """
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            if mask[i]:
                row = first + rows[i]
                term = np.int64(base) + np.int64(values[i])
                before = sums[row]
                after = before + term
                # Two's complement: both operands of one sign and a result of the other.
                if (before ^ after) & (term ^ after) < 0:
                    carries[row] += 1 if term > 0 else -1
                sums[row] = after


@kernel
def sum_floats_by_row(rows: U16, offsets: I64, values: F64, mask: Bools, high: F64, low: F64, biggest: F64) -> None:
    """Add each value with mask to the double-double (high, low)[row] and raise biggest[row] to its magnitude.

    Error-free addition after Knuth (TwoSum): high + low differs from the true sum by at most the bound that
    `certified_sums` uses.
    """
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            if mask[i]:
                row = first + rows[i]
                value = values[i]
                before = high[row]
                total = before + value
                shifted = total - before
                low[row] += (before - (total - shifted)) + (value - shifted)
                high[row] = total
                biggest[row] = max(biggest[row], abs(value))


@kernel
def lowest_by_row(rows: U16, offsets: I64, values: AnyArray, mask: Bools, best: AnyArray) -> None:
    """best[row] = min(best[row], value) per event with mask."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            if mask[i] and values[i] < best[first + rows[i]]:
                best[first + rows[i]] = values[i]


@kernel
def highest_by_row(rows: U16, offsets: I64, values: AnyArray, mask: Bools, best: AnyArray) -> None:
    """best[row] = max(best[row], value) per event with mask."""
    for morsel in range(offsets.shape[0] - 1):
        first = morsel << 16
        for i in range(offsets[morsel], offsets[morsel + 1]):
            if mask[i] and values[i] > best[first + rows[i]]:
                best[first + rows[i]] = values[i]
