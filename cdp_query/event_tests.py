"""Event predicates: per-user counts, aggregates and occurrences against their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cdp_query.bound import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.kernels import aggregate, occurrence
from cdp_query.masks import range_mask
from cdp_query.ranges import INT_MAX, INT_MIN
from cdp_query.scan import Scanned, scan
from cdp_query.stats import NodeStats
from cdp_query.sums import Sums
from cdp_query.tree import Aggregate, Occurrence
from cdp_query.windows import Interval
from cdp_store.arrays import F64, I64, U32, Bools
from cdp_store.events.column import EventColumn
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import Kind
from cdp_store.view import PartitionView

_NUMERIC = (Kind.INT, Kind.FLOAT)


def count_mask(view: PartitionView, node: BoundCount, stats: NodeStats) -> Bools:
    """Rows whose number of events is wanted."""
    counts: U32 = np.zeros(view.row_count, np.uint32)
    for scanned in scan(view, node.events, node.interval, stats):
        chunk = scanned.chunk
        if scanned.mask is None:
            aggregate.count_by_row(chunk.rows, chunk.offsets, counts)
        else:
            aggregate.count_by_row_where(chunk.rows, chunk.offsets, scanned.mask, counts)
    mask = range_mask(counts, node.wanted)
    if node.negated:
        mask = ~mask
    return mask & (counts > 0) if node.exclude_zero else mask


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The numeric values of one property and kind in a scanned chunk; mask includes presence."""

    scanned: Scanned
    column: EventColumn
    mask: Bools


def _numbers(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Iterator[_Numbers]:
    for scanned in scan(view, node.events, node.interval, stats):
        for (key, kind), column in scanned.chunk.columns.items():
            if key != node.property:
                continue
            presence, mask = column.presence(), scanned.mask_or_ones()
            mask = mask if presence is None else mask & presence
            if kind not in _NUMERIC:
                stats.type_mismatch += int(mask.sum())
                continue
            stats.bytes += column.nbytes
            yield _Numbers(scanned, column, mask)


def aggregate_mask(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Bools:
    """Rows whose aggregate is wanted; undefined aggregates are not, the sum of nothing is 0."""
    if node.aggregate in (Aggregate.SUM, Aggregate.AVG):
        return _sum_mask(view, node, stats)
    return _extreme_mask(view, node, stats)


def _sum_mask(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Bools:
    sums = Sums(view.row_count)
    for numbers in _numbers(view, node, stats):
        chunk = numbers.scanned.chunk
        aggregate.count_by_row_where(chunk.rows, chunk.offsets, numbers.mask, sums.counts)
        if numbers.column.kind is Kind.INT:
            sums.add_integers(chunk, numbers.column, numbers.mask)
        else:
            sums.add_floats(chunk, numbers.column.floats(), numbers.mask)
    if node.aggregate is Aggregate.AVG:
        averages, defined = sums.averages()
        mask = range_mask(averages, node.wanted)
        return defined & (~mask if node.negated else mask)
    mask = sums.integers_inside(node.wanted)
    if sums.any_floats:
        mixed = sums.float_rows()
        mask = np.where(mixed, range_mask(sums.rounded(), node.wanted), mask)
    return ~mask if node.negated else mask


def _extreme_mask(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Bools:
    sign = 1 if node.aggregate is Aggregate.MIN else -1
    integers: I64 = np.full(view.row_count, INT_MAX if sign > 0 else INT_MIN, np.int64)
    floats: F64 = np.full(view.row_count, sign * np.inf, np.float64)
    has_integer: Bools = np.zeros(view.row_count, np.bool_)
    has_float: Bools = np.zeros(view.row_count, np.bool_)
    raise_or_lower = aggregate.lowest_by_row if sign > 0 else aggregate.highest_by_row
    for numbers in _numbers(view, node, stats):
        chunk, is_integer = numbers.scanned.chunk, numbers.column.kind is Kind.INT
        best, seen = (integers, has_integer) if is_integer else (floats, has_float)
        values = numbers.column.integers() if is_integer else numbers.column.floats()
        raise_or_lower(chunk.rows, chunk.offsets, values, numbers.mask, best)
        occurrence.mark_by_row(chunk.rows, chunk.offsets, numbers.mask, seen)
    defined = has_integer | has_float
    mask = _extreme_inside(node, sign, (integers, has_integer), (floats, has_float))
    return defined & (~mask if node.negated else mask)


def _extreme_inside(node: BoundAggregate, sign: int, integers: tuple[I64, Bools], floats: tuple[F64, Bools]) -> Bools:
    """Whether the extreme over both kinds lies in the range, without ever rounding one kind to the other.

    A minimum is >= low when both kinds' minima are, and <= high when either is; a maximum the other way round.
    """
    inside_all: Bools = np.ones(integers[0].shape[0], np.bool_)
    inside_one: Bools = np.zeros(integers[0].shape[0], np.bool_)
    both, either = (node.wanted.lower(), node.wanted.upper())[::sign]
    for values, seen in (integers, floats):
        inside_all &= range_mask(values, both) | ~seen
        inside_one |= range_mask(values, either) & seen
    return inside_all & inside_one


def occurrence_mask(view: PartitionView, node: BoundOccurrence, stats: NodeStats) -> Bools:
    """Rows whose first (last) event up to until_ms lies in the interval."""
    is_first = node.occurrence is Occurrence.FIRST
    best: I64 = np.full(view.row_count, TIME_MAX_MS + 1 if is_first else TIME_MIN_MS - 1, np.int64)
    step = occurrence.first_time_by_row if is_first else occurrence.last_time_by_row
    for scanned in scan(view, node.events, Interval(TIME_MIN_MS, node.until_ms), stats):
        chunk = scanned.chunk
        stats.bytes += chunk.times.nbytes
        step(chunk.rows, chunk.offsets, chunk.times, chunk.base_ms, scanned.mask_or_ones(), best)
    inside: Bools = (best >= node.interval.first_ms) & (best <= node.interval.last_ms)
    return inside
