"""Answers of overlap, distribution and rfm from their merged parts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from cdp_query.reports.parts import OverlapPart, RfmPart
from cdp_query.scan.multiset import Multiset
from cdp_store.arrays import I64, AnyArray

QUANTILES: Final = tuple(Fraction(share, 100) for share in (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100))
_BINS: Final = 20
_SCORES: Final = 5


@dataclass(frozen=True, slots=True)
class Combination:
    """Users in exactly these segments (numbered from 0), and in at least these."""

    segments: tuple[int, ...]
    only: int
    all: int


def combinations(part: OverlapPart, segments: int) -> list[Combination]:
    """Every combination of at least one segment, small ones first."""
    wanted = sorted(range(1, 1 << segments), key=lambda combination: (combination.bit_count(), _members(combination)))
    return [
        Combination(
            _members(combination),
            part.counts[combination],
            sum(count for other, count in enumerate(part.counts) if other & combination == combination),
        )
        for combination in wanted
    ]


def _members(combination: int) -> tuple[int, ...]:
    return tuple(number for number in range(combination.bit_length()) if combination >> number & 1)


@dataclass(frozen=True, slots=True)
class Bin:
    """Members with a number in [low, high); the last bin includes its end.

    No number lies outside of the bins: an end that is no float64 is rounded away from the numbers.
    """

    low: float
    high: float
    count: int


def histogram(numbers: Multiset) -> list[Bin]:
    """Up to 20 bins of equal width over all numbers; one where they are all the same."""
    if not len(numbers):
        return []
    low, high = 0.0 - _not_below(-numbers.quantile(Fraction(0))), _not_below(numbers.quantile(Fraction(1)))
    if low == high:
        return [Bin(low, high, len(numbers))]
    shares = np.arange(_BINS + 1) / _BINS
    # Not low + (high - low) x share: the width may be beyond float64. Rounding may not lead out of the numbers.
    edges = np.unique(np.clip(low * (1 - shares) + high * shares, low, high))
    below = [int(numbers.counts[numbers.below(float(edge))].sum()) for edge in edges[1:-1]]
    counts = np.diff([0, *below, len(numbers)])
    return [Bin(float(a), float(b), int(count)) for a, b, count in zip(edges, edges[1:], counts, strict=False)]


def _not_below(number: Fraction) -> float:
    """The least float64 that is not below a number."""
    rounded = float(number)
    return rounded if rounded >= number else math.nextafter(rounded, math.inf)


def rfm_cells(part: RfmPart) -> Mapping[tuple[int, int, int], int]:
    """Members by their scores of recency, frequency and money, each 1 to 5."""
    if not part.last_ms.size:
        return {}
    # Money in two parts is compared like one number: by the rounded part, then by the rest.
    _, money = np.unique(np.stack([part.money, part.money_low]), axis=1, return_inverse=True)
    scores = [_scores(values) for values in (part.last_ms, part.events, money.reshape(-1))]
    return Counter(zip(*(score.tolist() for score in scores), strict=True))


def _scores(values: AnyArray) -> I64:
    """1 + floor(5 x members strictly below / members): equal values share a score."""
    below = np.searchsorted(np.sort(values), values, "left").astype(np.int64)
    scores: I64 = 1 + _SCORES * below // values.shape[0]
    return scores


def rfm_name(recency: int, frequency: int) -> str:
    """The name of a cell of the recency by frequency grid."""
    if recency >= 4:
        return "champions" if frequency >= 4 else "promising" if frequency >= 2 else "new"
    if recency == 3:
        return "loyal" if frequency >= 4 else "needing attention" if frequency >= 2 else "about to sleep"
    return "not to lose" if frequency >= 4 else "at risk" if frequency >= 2 else "lost"
