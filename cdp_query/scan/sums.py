"""Exact per-user sums: integers as integers, floats correctly rounded whatever the order of the events.

The float sum of a user is the true real sum of its float64 values rounded once to float64, as math.fsum gives
it; so it depends neither on arrival order nor on chunks or partitions. The fast path keeps a double-double
per row (about 106 bits) with a bound on its error. The rare rows whose rounding that bound leaves open are
summed again exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cdp_query.kernels import aggregate, exact_sum
from cdp_query.matching.masks import range_mask
from cdp_query.matching.ranges import Range
from cdp_query.scan.terms import Terms
from cdp_store.arrays import F64, I32, I64, U32, Bools
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.values import Kind

_UNIT = 2.0**-52
_EXACT_TERMS = 2
_PART = 2.0**-64

Rows = np.ndarray[tuple[int], np.dtype[np.intp]]


class Sums:
    """Accumulators of one aggregate over the rows of a partition."""

    def __init__(self, row_count: int) -> None:
        self.counts: U32 = np.zeros(row_count, np.uint32)
        self._integers: I64 = np.zeros(row_count, np.int64)
        self._carries: I32 = np.zeros(row_count, np.int32)
        self._any_integers = False
        self._floats = list[Terms]()
        self._high: F64 = np.zeros(row_count, np.float64)
        self._low: F64 = np.zeros(row_count, np.float64)
        self._biggest: F64 = np.zeros(row_count, np.float64)
        self._float_counts: U32 = np.zeros(row_count, np.uint32)

    @property
    def any_floats(self) -> bool:
        """True if any float was added."""
        return bool(self._floats)

    def add(self, part: Terms) -> None:
        """Adds numbers to their rows."""
        rows = part.rows()
        aggregate.count_rows(rows, self.counts)
        if part.column.kind is Kind.INT:
            self._any_integers = True
            aggregate.sum_integers(rows, part.integers(), self._integers, self._carries)
        else:
            self._floats.append(part)
            aggregate.sum_floats(rows, part.floats(), self._high, self._low, self._biggest)
            aggregate.count_rows(rows, self._float_counts)

    def float_rows(self) -> Bools:
        """Rows with at least one float."""
        return self._float_counts > 0

    def integers_inside(self, wanted: Range) -> Bools:
        """Rows with an integer sum in a range; a sum beyond 64 bits is compared exactly, as an unbounded integer."""
        mask = range_mask(self._integers, wanted)
        for row in np.flatnonzero(self._carries):
            mask[row] = wanted.contains((int(self._carries[row]) << 64) + int(self._integers[row]))
        return mask

    def rounded(self) -> F64:
        """Integers plus floats, rounded once to float64, of the rows with any float or beyond 64 bits; others 0."""
        rows = np.flatnonzero(self.float_rows() | (self._carries != 0))
        high, low, biggest = self._high[rows], self._low[rows], self._biggest[rows]
        counts = self._float_counts[rows].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            if self._any_integers:
                for addend in self._integer_addends(rows):
                    high, error = _two_sum(high, addend)
                    low = low + error
                    biggest = np.maximum(biggest, np.abs(addend))
                    counts += addend != 0
            total, rest = _two_sum(high, low)
            # n additions, each rounding a low part of at most n ulps of the biggest addend. Two terms leave one
            # error term, which low holds exactly.
            error_bound = counts**3 * _UNIT**2 * biggest
            half_ulp = np.spacing(np.nextafter(np.abs(total), 0.0)) / 2
            certain = ((np.abs(rest) + error_bound < half_ulp) | (counts <= _EXACT_TERMS)) & np.isfinite(total)
        sums: F64 = np.zeros(self.counts.shape[0], np.float64)
        sums[rows] = total
        open_rows = rows[~certain]
        if open_rows.size:
            addends = self._integer_addends(open_rows)
            sums[open_rows] = exact_float_sums(self._floats, open_rows, self.counts.shape[0], addends)
        return sums

    def totals(self) -> tuple[I64, F64, Bools]:
        """(integer sums, sums rounded once to float64, mask of the latter's rows): floats and sums beyond 64 bits."""
        is_float: Bools = self.float_rows() | (self._carries != 0)
        return self._integers, self.rounded(), is_float

    def averages(self) -> tuple[F64, Bools]:
        """(average per row, rows that have values)."""
        defined: Bools = self.counts > 0
        sums = self._integers.astype(np.float64)
        if self.any_floats or self._carries.any():
            sums = np.where(self.float_rows() | (self._carries != 0), self.rounded(), sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            averages = sums / self.counts
        beyond = np.flatnonzero(np.isinf(sums))
        if beyond.size:
            averages[beyond] = self._averages_of(beyond)
        return averages, defined

    def _averages_of(self, rows: Rows) -> F64:
        """The same for sums that no float64 holds: computed in parts of 2**64, without relevant loss."""
        addends = [addend * _PART for addend in self._integer_addends(rows)]
        sums = exact_float_sums(self._floats, rows, self.counts.shape[0], addends, scale=_PART)
        averages: F64 = sums / self.counts[rows] / _PART
        return averages

    def _integer_addends(self, rows: Rows) -> tuple[F64, F64, F64]:
        """Three float64 arrays whose sum is the integer sum of each of the rows exactly."""
        integers, low = self._integers[rows], self._integers[rows] & np.int64(0xFFFFFFFF)
        beyond: F64 = self._carries[rows].astype(np.float64) * 2.0**64
        return (integers - low).astype(np.float64), low.astype(np.float64), beyond


def exact_float_sums(
    parts: Sequence[Terms], wanted: Rows, row_count: int, addends: Sequence[F64] = (), *, scale: float = 1.0
) -> F64:
    """The true sum of each of the wanted rows' floats times scale and of its addends, rounded once: f64[len(wanted)].

    A sum beyond the largest float64 is infinite.
    """
    is_wanted: Bools = np.zeros(row_count, np.bool_)
    is_wanted[wanted] = True
    values = list(addends)
    rows: list[U32] = [wanted.astype(np.uint32)] * len(values)
    for part in parts:
        part_rows = part.rows()
        chosen = is_wanted[part_rows]
        rows.append(part_rows[chosen])
        values.append(part.floats()[chosen] * scale)
    all_rows: U32 = np.concatenate(rows)
    order = order_by_row_time(all_rows, np.zeros(all_rows.shape[0], np.int64))
    starts = np.append(np.searchsorted(all_rows[order], wanted), order.shape[0])
    terms: F64 = np.concatenate(values)[order]
    out: F64 = np.empty(wanted.shape[0], np.float64)
    exact_sum.exact_sums(starts.astype(np.int64), terms.view(np.int64), out)
    return out


def _two_sum(a: F64, b: F64) -> tuple[F64, F64]:
    total = a + b
    shifted = total - a
    return total, (a - (total - shifted)) + (b - shifted)
