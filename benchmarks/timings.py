"""Medians, spread, and ratios that say how sure they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of repeated runs: the median, and the band that holds the middle four fifths."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        """Summarise samples."""
        low, high = np.percentile(samples, (10, 90))
        return cls(round(statistics.median(samples), 3), round(float(low), 3), round(float(high), 3))


@dataclass(frozen=True, slots=True)
class Inner:
    """What an engine says of a run: milliseconds without the way to it, and bytes of its columns that it touched."""

    milliseconds: float
    bytes_touched: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times larger one timing is than another, with the noise band of the quotient."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the band holds 1: the two may as well be equal."""
        return self.low <= 1.0 <= self.high


def ratio(numerator: Timing, denominator: Timing) -> Ratio:
    """Quotient of medians; the band pairs each one's fast runs with the other's slow ones."""
    return Ratio(
        numerator.median / denominator.median, numerator.p10 / denominator.p90, numerator.p90 / denominator.p10
    )


def geometric_mean(values: Iterable[float]) -> float | None:
    """Geometric mean, None of nothing."""
    logarithms = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logarithms)) if logarithms else None
