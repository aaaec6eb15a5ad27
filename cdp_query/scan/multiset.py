"""A multiset of numbers, each with its count: exact, mergeable, in order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from cdp_store.arrays import F64, I64, Bools

_NONE: Final[F64] = np.zeros(0, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Multiset:
    """Distinct numbers ascending: high[i] + low[i] f64[n], where high is the number rounded, counts i64[n]."""

    high: F64
    low: F64
    counts: I64

    @staticmethod
    def of_integers(values: I64) -> Multiset:
        """The multiset of int64 values, in any order."""
        distinct, counts = np.unique(values, return_counts=True)
        high = distinct.astype(np.float64)
        # The nearest float64 of the largest integers lies just beyond int64.
        inside = np.where(high >= 2.0**63, 0.0, high)
        low = np.where(high >= 2.0**63, (distinct - np.iinfo(np.int64).max).astype(np.float64) - 1.0, 0.0)
        low += np.where(high >= 2.0**63, 0.0, (distinct - inside.astype(np.int64)).astype(np.float64))
        return Multiset(high, low, counts.astype(np.int64))

    @staticmethod
    def of_pairs(high: F64, low: F64, counts: I64) -> Multiset:
        """The multiset of numbers given in two parts, in any order, repetitions allowed."""
        if not high.size:
            return EMPTY
        order = np.lexsort((low, high))
        high, low = high[order], low[order]
        first = np.flatnonzero(np.append(True, (high[1:] != high[:-1]) | (low[1:] != low[:-1])))
        return Multiset(high[first], low[first], np.add.reduceat(counts[order], first))

    def merge(self, other: Multiset) -> Multiset:
        """The numbers of both."""
        return Multiset.of_pairs(
            np.concatenate([self.high, other.high]),
            np.concatenate([self.low, other.low]),
            np.concatenate([self.counts, other.counts]),
        )

    def __len__(self) -> int:
        return int(self.counts.sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Multiset) and all(
            np.array_equal(a, b)
            for a, b in ((self.high, other.high), (self.low, other.low), (self.counts, other.counts))
        )

    def __hash__(self) -> int:
        return hash((self.high.tobytes(), self.low.tobytes(), self.counts.tobytes()))

    def quantile(self, share: Fraction) -> Fraction:
        """The exact quantile: at place (n - 1) share in order, between two numbers their weighted mean; n > 0."""
        place = (len(self) - 1) * share
        below = int(place)
        lower = self._at(below)
        rest = place - below
        return lower if rest == 0 else lower + (self._at(below + 1) - lower) * rest

    def below(self, bound: float) -> Bools:
        """Mask of the distinct numbers below a bound: bool[n]."""
        smaller: Bools = (self.high < bound) | ((self.high == bound) & (self.low < 0))
        return smaller

    def total(self) -> Fraction:
        """The exact sum."""
        return sum((_weighted_sum(part, self.counts) for part in (self.high, self.low)), Fraction(0))

    def _at(self, rank: int) -> Fraction:
        return self._number(int(np.searchsorted(np.cumsum(self.counts), rank, "right")))

    def _number(self, position: int) -> Fraction:
        return Fraction(float(self.high[position])) + Fraction(float(self.low[position]))


def _weighted_sum(numbers: F64, counts: I64) -> Fraction:
    """The exact sum of each number times its count, by exponent in integers of any size."""
    mantissas, exponents = np.frexp(numbers)
    whole = np.ldexp(mantissas, 53).astype(np.int64).astype(object) * counts.astype(object)
    return sum(
        (
            Fraction(2) ** (int(exponent) - 53) * int(whole[exponents == exponent].sum())
            for exponent in np.unique(exponents)
        ),
        Fraction(0),
    )


EMPTY: Final = Multiset(_NONE, _NONE, np.zeros(0, np.int64))
