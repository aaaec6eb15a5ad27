"""Matchers applied to columns: values of one kind in, one bool each out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any as Anything

import numpy as np

from cdp_query.matching.decided import Decided
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import Range
from cdp_store.arrays import AnyArray, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.values import Kind

Codes = Callable[[Kind], Decided]


def column_mask(column: EventColumn, matcher: Matcher, codes: Codes) -> Bools:
    """Mask of the values of a column that satisfy the positive condition; undefined for entries that are not present.

    `codes` decides strings and lists by code.
    """
    kind, values = column.kind, column.values
    if matcher.everything:
        return np.ones(values.shape[0], np.bool_)
    if kind is Kind.TIME and matcher.instants is not None:
        return matcher.instants(column.integers())
    if column.is_decimal:
        bounds = [_shifted(*wanted.mantissas(column.scale), column.base) for wanted in matcher.numbers]
        return _inside_any(values, bounds)
    if kind in (Kind.INT, Kind.TIME):
        return _inside_any(values, [_shifted(*span, column.base) for span in _integer_bounds(kind, matcher)])
    if kind in (Kind.STRING, Kind.LIST):
        return codes(kind).mask(values, column.base)
    return _plain_mask(kind, values, matcher)


def values_mask(kind: Kind, values: AnyArray, matcher: Matcher, codes: Codes) -> Bools:
    """Mask of the plain values of a kind that satisfy the positive condition; `codes` decides strings and lists."""
    if matcher.everything:
        return np.ones(values.shape[0], np.bool_)
    if kind is Kind.TIME and matcher.instants is not None:
        return matcher.instants(values.astype(np.int64))
    if kind in (Kind.INT, Kind.TIME):
        return _inside_any(values, _integer_bounds(kind, matcher))
    if kind in (Kind.STRING, Kind.LIST):
        return codes(kind).mask(values)
    return _plain_mask(kind, values, matcher)


def _plain_mask(kind: Kind, values: AnyArray, matcher: Matcher) -> Bools:
    if kind is Kind.FLOAT:
        # A float32 column must be compared in float64: the bound may not be a float32.
        bounds = [wanted.floats() for wanted in matcher.numbers]
        return _inside_any(values, [(np.float64(low), np.float64(high)) for low, high in bounds])
    if kind is Kind.BOOL:
        table = np.array([flag in matcher.flags for flag in (False, True)])
        return table[values.astype(np.uint8)]
    return np.zeros(values.shape[0], np.bool_)


def _integer_bounds(kind: Kind, matcher: Matcher) -> list[tuple[int, int]]:
    if kind is Kind.TIME:
        return [(span.first_ms, span.last_ms) for span in matcher.times]
    return [wanted.integers() for wanted in matcher.numbers]


def _shifted(low: int, high: int, base: int) -> tuple[int, int]:
    return low - base, high - base


def _inside_any(values: AnyArray, bounds: Iterable[tuple[Anything, Anything]]) -> Bools:
    mask: Bools | None = None
    for low, high in bounds:
        inside = _inside(values, low, high)
        mask = inside if mask is None else mask | inside
    return np.zeros(values.shape[0], np.bool_) if mask is None else mask


def _inside(values: AnyArray, low: Anything, high: Anything) -> Bools:
    """low <= values <= high, each side compared only if it can matter for the type."""
    if low > high:
        return np.zeros(values.shape[0], np.bool_)
    if values.dtype.kind == "f":
        inside: Bools = (values >= low) & (values <= high)
        return inside
    info = np.iinfo(values.dtype)
    if low > info.max or high < info.min:
        return np.zeros(values.shape[0], np.bool_)
    mask: Bools | None = None
    if low > info.min:
        mask = values >= low
    if high < info.max:
        below: Bools = values <= high
        mask = below if mask is None else mask & below
    return np.ones(values.shape[0], np.bool_) if mask is None else mask


def range_mask(values: AnyArray, wanted: Range) -> Bools:
    """Mask of the values of an int or float array that lie in a range."""
    low, high = wanted.floats() if values.dtype.kind == "f" else wanted.integers()
    return _inside(values, low, high)
