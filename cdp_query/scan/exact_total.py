"""The exact sum of many numbers as a value that can be merged in any order and sent."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Final

import numpy as np

from cdp_query.kernels.exact_sum import LIMBS
from cdp_store.arrays import I64

_FRACTION_BITS: Final = 1074  # every float64 is a whole multiple of 2**-1074
_LIMB_BITS: Final = 32
_PART_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class ExactTotal:
    """Separates sums of ints and of floats: count of both; `fractions` counts units of 2**-1074 of the floats."""

    count: int = 0
    integers: int = 0
    fractions: int = 0
    has_floats: bool = False

    def merge(self, other: ExactTotal) -> ExactTotal:
        """The sum of both."""
        if not self.count or not other.count:
            return self if self.count else other
        return ExactTotal(
            self.count + other.count,
            self.integers + other.integers,
            self.fractions + other.fractions,
            self.has_floats or other.has_floats,
        )

    def value(self) -> int | float:
        """An exact integer, or with any float in it the true sum rounded once to float64; infinite beyond it."""
        return self._rounded() if self.has_floats else self.integers

    def average(self) -> float | None:
        """The sum as float64, of any size, divided by the number of values; None for no values."""
        if not self.count:
            return None
        total = self._rounded()
        return total / self.count if isfinite(total) else self._rounded(_PART_BITS) / self.count * 2.0**_PART_BITS

    def _rounded(self, part_bits: int = 0) -> float:
        """The sum in units of 2**part_bits."""
        scaled = (self.integers << _FRACTION_BITS) + self.fractions
        try:
            return scaled / (1 << (_FRACTION_BITS + part_bits))  # Python divides integers with one correct rounding
        except OverflowError:
            return inf if scaled > 0 else -inf


def fractions_of_limbs(limbs: I64) -> int:
    """Units of 2**-1074 in the fixed-point number of kernels.exact_sum: limbs i64[70], of any sign."""
    total = 0
    for limb in reversed(limbs.tolist()):
        total = (total << _LIMB_BITS) + limb
    return total


def no_limbs(groups: int) -> I64:
    """Zeros for that many fixed-point numbers: i64[groups, 70]."""
    return np.zeros((groups, LIMBS), np.int64)
