"""Per-user aggregates: one pass over chosen events, given as their rows and values, into accumulators by row."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import F64, I32, I64, U32, AnyArray, Bools
from cdp_store.kernels.jit import kernel


@kernel
def count_rows(rows: U32, counts: U32) -> None:
    """counts[row] += 1 per event; reads 4 bytes an event."""
    for i in range(rows.shape[0]):
        counts[rows[i]] += np.uint32(1)


@kernel
def mark_rows(rows: U32, seen: Bools) -> None:
    """seen[row] = True per event; reads 4 bytes an event."""
    for i in range(rows.shape[0]):
        seen[rows[i]] = True


@kernel
def sum_integers(rows: U32, values: I64, sums: I64, carries: I32) -> None:
    """Add each value to the exact sum of its row: sums[row] + carries[row] * 2**64.

    A sum that leaves int64 on the way and comes back is right in the end, whatever the order of its terms.
    """
    for i in range(rows.shape[0]):
        row, term = rows[i], values[i]
        before = sums[row]
        after = before + term
        # Two's complement: both operands of one sign and a result of the other.
        if (before ^ after) & (term ^ after) < 0:
            carries[row] += 1 if term > 0 else -1
        sums[row] = after


@kernel
def sum_mantissas(rows: U32, values: AnyArray, base: int, factor: int, sums: I64) -> None:
    """sums[row] += (base + value) * factor; the caller knows that nothing leaves int64."""
    for i in range(rows.shape[0]):
        # Widened first: mantissas are stored in as few bytes as they need.
        sums[rows[i]] += (base + np.int64(values[i])) * factor


@kernel
def sum_floats(rows: U32, values: F64, high: F64, low: F64, biggest: F64) -> None:
    """Add each value to the double-double (high, low)[row] and raise biggest[row] to its magnitude.

    Error-free addition after Knuth (TwoSum): high + low differs from the true sum by at most the bound that
    `Sums.rounded` uses.
    """
    for i in range(rows.shape[0]):
        row, value = rows[i], values[i]
        before = high[row]
        total = before + value
        shifted = total - before
        low[row] += (before - (total - shifted)) + (value - shifted)
        high[row] = total
        biggest[row] = max(biggest[row], abs(value))


@kernel
def lowest(rows: U32, values: AnyArray, best: AnyArray) -> None:
    """best[row] = min(best[row], value) per event."""
    for i in range(rows.shape[0]):
        if values[i] < best[rows[i]]:
            best[rows[i]] = values[i]


@kernel
def highest(rows: U32, values: AnyArray, best: AnyArray) -> None:
    """best[row] = max(best[row], value) per event."""
    for i in range(rows.shape[0]):
        if values[i] > best[rows[i]]:
            best[rows[i]] = values[i]
