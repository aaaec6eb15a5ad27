"""The values of one property on the events that count, as rows and integer keys that sort like the values.

Integers and floats form one order: by float64, then by the rounding remainder of an integer; an integer comes before
an equal float. Values of other kinds are distinguished, but have no order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.scan.numbers import residuals
from cdp_query.scan.scan import scan
from cdp_query.scan.terms import Terms
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, I64, U32, Bools
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_NUMERIC = (Kind.INT, Kind.FLOAT)
_SIGN_BITS = np.int64(0x7FFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class SortedValues:
    """Values of one kind, or all numbers, sorted by (row, value).

    rows u32[n]; keys i64[n] and, if numbers of both kinds occur, rests i64[n] (twice the rest, plus 1 for a float):
    equal keys and equal rests >> 1 are equal values. order i64[n] are positions in the order of the scan.
    """

    rows: U32
    keys: I64
    rests: I64 | None
    order: I64

    def starts(self) -> I64:
        """Start of each run of equal values of one row: i64[runs]."""
        different: Bools = np.ones(self.rows.shape[0], np.bool_)
        different[1:] = (np.diff(self.rows) != 0) | (np.diff(self.keys) != 0)
        if self.rests is not None:
            different[1:] |= np.diff(self.rests >> 1) != 0
        return np.flatnonzero(different).astype(np.int64)


def property_columns(
    view: PartitionView, events: BoundEvents, interval: Interval, key: int | None, stats: NodeStats
) -> Iterator[Terms]:
    """The columns of a property in the chunks that are scanned."""
    for scanned in scan(view, events, interval, stats):
        for _, column in scanned.chunk.variants(key):
            stats.bytes += column.nbytes
            present = scanned.where(column.presence())
            if present.count():
                yield Terms(present, column)


def sorted_values(parts: list[Terms]) -> Iterator[tuple[list[Terms], SortedValues]]:
    """The values in groups that can be equal, all numbers together and each other kind alone, with their columns."""
    numbers = [part for part in parts if part.column.kind in _NUMERIC]
    if numbers:
        yield numbers, sorted_numbers(numbers)
    for kind in (Kind.BOOL, Kind.STRING, Kind.TIME, Kind.LIST):
        alike = [part for part in parts if part.column.kind is kind]
        if alike:
            keys: I64 = np.concatenate([part.integers() for part in alike])
            yield alike, _sorted(rows_of(alike), keys, None)


def sorted_numbers(parts: list[Terms]) -> SortedValues:
    """Integers and floats in one exact order; all parts hold numbers."""
    rows = rows_of(parts)
    if all(part.column.kind is Kind.INT for part in parts):
        return _sorted(rows, np.concatenate([part.integers() for part in parts]), None)
    floats, rests = list[F64](), list[I64]()
    for part in parts:
        if part.column.kind is Kind.INT:
            integers = part.integers()
            floats.append(integers.astype(np.float64))
            rests.append(residuals(integers) << 1)
        else:
            floats.append(part.floats())
            rests.append(np.ones(floats[-1].shape[0], np.int64))
    # Adding 0.0 merges the two zeros; negative floats sort in reverse as integers.
    bits: I64 = (np.concatenate(floats) + 0.0).view(np.int64)
    return _sorted(rows, np.where(bits < 0, bits ^ _SIGN_BITS, bits), np.concatenate(rests))


def rows_of(parts: list[Terms]) -> U32:
    """Rows of the events that count, part after part: u32[n]."""
    rows: U32 = np.concatenate([part.rows() for part in parts])
    return rows


def float_of_keys(keys: I64) -> F64:
    """The float64 values of keys of `sorted_numbers` with rests."""
    return np.ascontiguousarray(np.where(keys < 0, keys ^ _SIGN_BITS, keys)).view(np.float64)


def _sorted(rows: U32, keys: I64, rests: I64 | None) -> SortedValues:
    if rests is None:
        order = order_by_row_time(rows, keys)
        return SortedValues(rows[order], keys[order], None, order)
    by_rest = np.argsort(rests, kind="stable").astype(np.int64)
    order = by_rest[order_by_row_time(rows[by_rest], keys[by_rest])]
    return SortedValues(rows[order], keys[order], rests[order], order)
