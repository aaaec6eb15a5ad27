"""Least, greatest, median and 95th percentile of each user's numbers, and the number of distinct values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_query.scan.numbers import Numbers
from cdp_query.scan.property_values import SortedValues, float_of_keys, sorted_numbers, sorted_values
from cdp_query.scan.terms import Terms
from cdp_query.stats import NodeStats
from cdp_query.tree import Measured
from cdp_store.arrays import F64, I64, Bools
from cdp_store.values import Kind

_NUMERIC = (Kind.INT, Kind.FLOAT)


@dataclass(frozen=True, slots=True)
class _Picked:
    """One number for each of some rows: integers where not is_float."""

    integers: I64
    floats: F64
    is_float: Bools


def distinct_by_row(parts: list[Terms], row_count: int) -> I64:
    """Number of distinct values of each row over all kinds: i64[row_count]."""
    counts: I64 = np.zeros(row_count, np.int64)
    for _, values in sorted_values(parts):
        counts += np.bincount(values.rows[values.starts()], minlength=row_count)
    return counts


def order_statistic(function: Measured, parts: list[Terms], row_count: int, stats: NodeStats) -> Numbers:
    """MIN, MAX, MEDIAN or P95 per row, undefined without numbers.

    P95 is the least value that at least 95 % of the values do not exceed (nearest rank). The median of an even count
    is the mean of the middle two as float64; two integers are added exactly first, two equal ones are themselves.
    """
    numeric = [part for part in parts if part.column.kind in _NUMERIC]
    stats.type_mismatch += sum(len(part) for part in parts if part.column.kind not in _NUMERIC)
    nothing = np.zeros(row_count, np.int64), np.zeros(row_count, np.bool_)
    if not numeric:
        return Numbers(nothing[0], defined=nothing[1])
    values = sorted_numbers(numeric)
    starts = np.flatnonzero(np.diff(values.rows, prepend=values.rows[0] + np.uint32(1)))
    counts = np.diff(np.append(starts, values.rows.shape[0]))
    match function:
        case Measured.MIN:
            picked = _picked(values, starts)
        case Measured.MAX:
            picked = _picked(values, starts + counts - 1)
        case Measured.P95:
            picked = _picked(values, starts + (95 * counts + 99) // 100 - 1)
        case _:
            picked = _middle(_picked(values, starts + (counts - 1) // 2), _picked(values, starts + counts // 2))
    return _scattered(picked, values.rows[starts].astype(np.int64), row_count)


def _picked(values: SortedValues, at: I64) -> _Picked:
    keys = values.keys[at]
    if values.rests is None:
        return _Picked(keys, np.zeros(keys.shape[0]), np.zeros(keys.shape[0], np.bool_))
    floats, rests = float_of_keys(keys), values.rests[at]
    is_float: Bools = (rests & 1) == 1
    # 2**63 is no int64: the integer below it that rounds to it has a negative rest.
    top = floats >= 2.0**63
    back = np.where(is_float | top, 0.0, floats).astype(np.int64)
    integers = np.where(top, np.iinfo(np.int64).max + (rests >> 1) + 1, back + (rests >> 1))
    return _Picked(np.where(is_float, 0, integers), floats, is_float)


def _middle(low: _Picked, high: _Picked) -> _Picked:
    first, second = (np.where(side.is_float, side.floats, side.integers.astype(np.float64)) for side in (low, high))
    both_integers = ~low.is_float & ~high.is_float
    equal = np.where(both_integers, low.integers == high.integers, first == second)
    # An integer and a float that are equal once rounded need not be equal; their mean is that float in any case.
    equal &= both_integers | (low.is_float & high.is_float)
    with np.errstate(over="ignore"):
        total = first + second
        means = np.where(np.isfinite(total), total / 2, first / 2 + second / 2)
    means = np.where(both_integers, _integer_means(low.integers, high.integers), means)
    return _Picked(low.integers, np.where(equal, low.floats, means), np.where(equal, low.is_float, True))


def _integer_means(a: I64, b: I64) -> F64:
    """(a + b) / 2 rounded once, even if the sum leaves int64."""
    total = a + b
    floor = (a >> 1) + (b >> 1) + (a & b & 1)
    # At this size the half is below the precision of float64; as the lowest bit it still decides a tie.
    beyond = ((a ^ total) & (b ^ total)) < 0
    return np.where(beyond, (floor | ((a ^ b) & 1)).astype(np.float64), total.astype(np.float64) / 2)


def _scattered(picked: _Picked, rows: I64, row_count: int) -> Numbers:
    integers: I64 = np.zeros(row_count, np.int64)
    defined: Bools = np.zeros(row_count, np.bool_)
    integers[rows], defined[rows] = picked.integers, True
    if not picked.is_float.any():
        return Numbers(integers, defined=defined)
    floats: F64 = np.zeros(row_count, np.float64)
    is_float: Bools = np.zeros(row_count, np.bool_)
    floats[rows], is_float[rows] = picked.floats, picked.is_float
    return Numbers(integers, floats, is_float, defined)
