"""Exact comparison of stored numbers with literals: every test becomes closed intervals in a column's own domain."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cdp_query.tree import Op

Number = int | float

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds; None is unbounded. Bounds are exact: an int stays an int."""

    low: Number | None = None
    high: Number | None = None
    low_open: bool = False
    high_open: bool = False

    def contains(self, value: Number) -> bool:
        """Tests whether a number lies inside; ints and floats compare exactly."""
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        below = self.high is None or value < self.high or (value == self.high and not self.high_open)
        return above and below

    def integers(self) -> tuple[int, int]:
        """The int64 values inside, as a closed interval; empty when first > last."""
        return _int_low(self.low, self.low_open), _int_high(self.high, self.high_open)

    def floats(self) -> tuple[float, float]:
        """The float64 values inside, as a closed interval; empty when first > last."""
        low = -math.inf if self.low is None else _float_at_least(self.low, self.low_open)
        high = math.inf if self.high is None else -_float_at_least(-self.high, self.high_open)
        return low, high

    def lower(self) -> Range:
        """The range without its upper bound."""
        return Range(low=self.low, low_open=self.low_open)

    def upper(self) -> Range:
        """The range without its lower bound."""
        return Range(high=self.high, high_open=self.high_open)

    def mantissas(self, scale: int) -> tuple[int, int]:
        """The integers m with m / 10**scale (rounded to float64) inside, as a closed interval."""
        return self.mantissas_of((scale,))[0]

    def mantissas_of(self, scales: Iterable[int]) -> list[tuple[int, int]]:
        """The same for several scales."""
        low, high = self.floats()
        if math.isnan(low) or low > high:
            return [(1, 0) for _ in scales]
        return [(_first_mantissa(low, 10.0**scale), -_first_mantissa(-high, 10.0**scale)) for scale in scales]


def range_of(op: Op, value: Number) -> Range:
    """The numbers x with x op value; for NE the range of EQ, which the caller complements."""
    match op:
        case Op.LT:
            return Range(high=value, high_open=True)
        case Op.LE:
            return Range(high=value)
        case Op.GT:
            return Range(low=value, low_open=True)
        case Op.GE:
            return Range(low=value)
    return Range(low=value, high=value)


def _int_low(low: Number | None, is_open: bool) -> int:
    if low is None or low == -math.inf:
        return INT_MIN
    if low == math.inf:
        return INT_MAX + 1
    first = math.ceil(low)
    return first + 1 if is_open and first == low else first


def _int_high(high: Number | None, is_open: bool) -> int:
    return INT_MAX if high is None else -_int_low(-high, is_open)


def _float_at_least(low: Number, is_open: bool) -> float:
    try:
        nearest = float(low)
    except OverflowError:
        nearest = math.inf if low > 0 else -math.inf
    if nearest < low or (is_open and nearest == low):
        return math.nextafter(nearest, math.inf)
    return nearest


def _first_mantissa(low: float, factor: float) -> int:
    """Smallest integer m within the mantissa range of decimals with m / factor >= low."""
    bound = 1 << 53
    if not -bound < low * factor < bound:
        return -bound if low < 0 else bound
    guess = math.floor(low * factor) - 2
    while guess / factor < low:
        guess += 1
    return guess
