"""Exact per-user sums: integers as integers, floats correctly rounded whatever the order of the events.

The float sum of a user is the true real sum of its float64 values rounded once to float64, as math.fsum gives
it; so it depends neither on arrival order nor on chunks or partitions. The fast road keeps a double-double
per row (about 106 bits) with a bound on its error; a row whose rounding that bound leaves open, very rarely
one, is summed again exactly.
"""

from __future__ import annotations

import numpy as np

from cdp_query.kernels import aggregate, exact_sum
from cdp_query.masks import range_mask
from cdp_query.ranges import Range
from cdp_store.arrays import F64, I32, I64, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.events.column import EventColumn
from cdp_store.events.sealing import order_by_row_time

_UNIT = 2.0**-52
_EXACT_TERMS = 2

Rows = np.ndarray[tuple[int], np.dtype[np.intp]]


class Sums:
    """Accumulators of one aggregate over the rows of a partition."""

    def __init__(self, row_count: int) -> None:
        self.counts: U32 = np.zeros(row_count, np.uint32)
        self._integers: I64 = np.zeros(row_count, np.int64)
        self._carries: I32 = np.zeros(row_count, np.int32)
        self._any_integers = False
        self._floats = list[tuple[EventChunk, F64, Bools]]()
        self._high: F64 = np.zeros(row_count, np.float64)
        self._low: F64 = np.zeros(row_count, np.float64)
        self._biggest: F64 = np.zeros(row_count, np.float64)
        self._float_counts: U32 = np.zeros(row_count, np.uint32)

    @property
    def any_floats(self) -> bool:
        """Whether any float was added."""
        return bool(self._floats)

    def float_rows(self) -> Bools:
        """Rows with at least one float."""
        return self._float_counts > 0

    def add_integers(self, chunk: EventChunk, column: EventColumn, mask: Bools) -> None:
        """Add the integers with mask to their rows."""
        self._any_integers = True
        aggregate.sum_integers_by_row(
            chunk.rows, chunk.offsets, column.values, column.base, mask, self._integers, self._carries
        )

    def integers_inside(self, wanted: Range) -> Bools:
        """Rows whose integer sum lies in a range; a sum beyond 64 bits is compared as the integer it is."""
        mask = range_mask(self._integers, wanted)
        for row in np.flatnonzero(self._carries):
            mask[row] = wanted.contains((int(self._carries[row]) << 64) + int(self._integers[row]))
        return mask

    def add_floats(self, chunk: EventChunk, values: F64, mask: Bools) -> None:
        """Add the values with mask to their rows."""
        self._floats.append((chunk, values, mask))
        aggregate.sum_floats_by_row(chunk.rows, chunk.offsets, values, mask, self._high, self._low, self._biggest)
        aggregate.count_by_row_where(chunk.rows, chunk.offsets, mask, self._float_counts)

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
            sums[open_rows] = self._summed_again(open_rows)
        return sums

    def averages(self) -> tuple[F64, Bools]:
        """(average per row, rows that have values)."""
        defined: Bools = self.counts > 0
        sums = self._integers.astype(np.float64)
        if self.any_floats or self._carries.any():
            sums = np.where(self.float_rows() | (self._carries != 0), self.rounded(), sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / self.counts, defined

    def _integer_addends(self, rows: Rows) -> tuple[F64, F64, F64]:
        """Three float64 arrays whose sum is the integer sum of each of the rows exactly."""
        integers, low = self._integers[rows], self._integers[rows] & np.int64(0xFFFFFFFF)
        beyond: F64 = self._carries[rows].astype(np.float64) * 2.0**64
        return (integers - low).astype(np.float64), low.astype(np.float64), beyond

    def _summed_again(self, open_rows: Rows) -> F64:
        is_open: Bools = np.zeros(self.counts.shape[0], np.bool_)
        is_open[open_rows] = True
        values = list(self._integer_addends(open_rows))
        rows = [open_rows.astype(np.uint32)] * len(values)
        for chunk, floats, mask in self._floats:
            full_rows = chunk.full_rows()
            chosen = mask & is_open[full_rows]
            rows.append(full_rows[chosen])
            values.append(floats[chosen])
        all_rows: U32 = np.concatenate(rows)
        order = order_by_row_time(all_rows, np.zeros(all_rows.shape[0], np.int64))
        starts = np.append(np.searchsorted(all_rows[order], open_rows), order.shape[0])
        terms: F64 = np.concatenate(values)[order]
        out: F64 = np.empty(open_rows.shape[0], np.float64)
        exact_sum.exact_sums(starts.astype(np.int64), terms.view(np.int64), out)
        return out


def _two_sum(a: F64, b: F64) -> tuple[F64, F64]:
    total = a + b
    shifted = total - a
    return total, (a - (total - shifted)) + (b - shifted)
