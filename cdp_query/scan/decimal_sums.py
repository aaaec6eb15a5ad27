"""Sums of decimals such as prices: added as integers, compared as the float64 sums that they represent.

Prices arrive as float64 and their sum is the true sum of those, rounded once. A value differs from the decimal
m / 10**s it is stored as by at most half a unit in the last place, so the rounded sum of non-negative ones lies
within a factor of 1 +- 2**-51 of the sum of the decimals. If that leaves a comparison open, the row is summed
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from cdp_query.kernels import aggregate
from cdp_query.matching.ranges import Range
from cdp_query.scan.sums import exact_float_sums
from cdp_query.scan.terms import Terms
from cdp_store.arrays import I64, Bools
from cdp_store.values import Kind

_ONE: Final = 1 << 51  # 1 / _ONE is the slack
_TOTAL_MAX: Final = 1 << 62


def decimal_sum_mask(parts: Sequence[Terms], wanted: Range, row_count: int) -> Bools | None:
    """Rows whose sum lies in the range: bool[row_count]; None when the parts are not all non-negative decimals."""
    if not parts or not all(_is_amount(part) for part in parts):
        return None
    scale = max(part.column.scale for part in parts)
    if sum(len(part) * _highest(part, scale) for part in parts) >= _TOTAL_MAX:
        return None
    sums: I64 = np.zeros(row_count, np.int64)
    for part in parts:
        factor = 10 ** (scale - part.column.scale)
        aggregate.sum_mantissas(part.rows(), part.stored(), part.column.base, factor, sums)
    (sure_low, maybe_low), (sure_high, maybe_high) = sum_bounds(wanted, scale)
    mask: Bools = sums >= sure_low
    if sure_high < _TOTAL_MAX:
        mask &= sums <= sure_high
    if maybe_low < sure_low or maybe_high > sure_high:
        maybe = (sums >= maybe_low) & (sums <= maybe_high) & ~mask
        rows = np.flatnonzero(maybe)
        if rows.size:
            mask[rows] = [wanted.contains(total) for total in exact_float_sums(parts, rows, row_count).tolist()]
    return mask


def _is_amount(part: Terms) -> bool:
    column = part.column
    return column.kind is Kind.FLOAT and column.is_decimal and column.base + int(column.low) >= 0


def _highest(part: Terms, scale: int) -> int:
    column = part.column
    return (column.base + int(column.high)) * int(10 ** (scale - column.scale))


def sum_bounds(wanted: Range, scale: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """((sure, maybe) least mantissa sum, (sure, maybe) greatest): beyond `maybe` a sum is certainly outside."""
    low, high = wanted.floats()
    return _least(low, scale), _greatest(high, scale)


def _least(low: float, scale: int) -> tuple[int, int]:
    if low <= 0:
        return 0, 0
    if low == math.inf:
        return _TOTAL_MAX, _TOTAL_MAX
    over, under = low.as_integer_ratio()
    over = over * 10**scale * _ONE
    return min(-(-over // (under * (_ONE - 1))), _TOTAL_MAX), min(-(-over // (under * (_ONE + 1))), _TOTAL_MAX)


def _greatest(high: float, scale: int) -> tuple[int, int]:
    if high < 0:
        return -1, -1
    if high == math.inf:
        return _TOTAL_MAX, _TOTAL_MAX
    over, under = high.as_integer_ratio()
    over = over * 10**scale * _ONE
    return min(over // (under * (_ONE + 1)), _TOTAL_MAX), min(over // (under * (_ONE - 1)), _TOTAL_MAX)
