"""Event predicates: per-user counts, aggregates and occurrences against their bounds."""

from __future__ import annotations

import numpy as np

from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import aggregate, runs
from cdp_query.matching.masks import range_mask
from cdp_query.matching.ranges import INT_MAX, INT_MIN, Range
from cdp_query.scan.decimal_sums import decimal_sum_mask
from cdp_query.scan.dropped import count_dropped, mark_dropped
from cdp_query.scan.scan import overlapping, scan
from cdp_query.scan.sums import Sums
from cdp_query.scan.terms import terms
from cdp_query.stats import NodeStats
from cdp_query.tree import Aggregate, Occurrence
from cdp_store.arrays import F64, I64, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import TIME_MIN_MS
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_AT_LEAST_ONE = Range(low=1)


def count_mask(view: PartitionView, node: BoundCount, stats: NodeStats) -> Bools:
    """Rows with a wanted number of events."""
    if node.wanted == _AT_LEAST_ONE and not node.negated:
        return did_mask(view, node, stats)
    counts = event_counts(view, node.events, node.interval, stats)
    mask = range_mask(counts, node.wanted)
    if node.negated:
        mask = ~mask
    return mask & (counts > 0) if node.exclude_zero else mask


def event_counts(view: PartitionView, events: BoundEvents, interval: Interval, stats: NodeStats) -> U32:
    """Number of such events of each row in the interval: u32[row_count]."""
    counts: U32 = np.zeros(view.row_count, np.uint32)
    if events.where is None:
        count_dropped(view, events, interval, counts, stats)
        for chunk, covered in overlapping(view, events, interval, stats):
            index = chunk.run_rows, chunk.run_starts, chunk.run_offsets
            if covered:
                runs.count_runs(*index, counts)
            else:
                runs.count_runs_between(*index, chunk.times, *_stored(chunk, interval), counts)
    else:
        for scanned in scan(view, events, interval, stats):
            aggregate.count_rows(scanned.rows(), counts)
    return counts


def did_mask(view: PartitionView, node: BoundCount, stats: NodeStats) -> Bools:
    """Rows with any such event."""
    seen: Bools = np.zeros(view.row_count, np.bool_)
    _mark(view, node.events, node.interval, seen, stats)
    return seen


def _mark(view: PartitionView, events: BoundEvents, interval: Interval, seen: Bools, stats: NodeStats) -> None:
    """Sets seen[row] for rows with such an event in the interval."""
    if events.where is None:
        _mark_any(view, events, interval, seen, stats)
        return
    for scanned in scan(view, events, interval, stats):
        aggregate.mark_rows(scanned.rows(), seen)


def _mark_any(view: PartitionView, events: BoundEvents, interval: Interval, seen: Bools, stats: NodeStats) -> None:
    """Sets seen[row] for rows with any event in the interval; without a filter, so most events need not be read."""
    mark_dropped(view, events, interval, seen, stats)
    for chunk, covered in overlapping(view, events, interval, stats):
        if covered:
            runs.mark_runs(chunk.run_rows, chunk.run_offsets, seen)
        else:
            bounds = _stored(chunk, interval)
            runs.mark_runs_between(chunk.run_rows, chunk.run_starts, chunk.run_offsets, chunk.times, *bounds, seen)


def _stored(chunk: EventChunk, interval: Interval) -> tuple[int, int]:
    """The interval in the chunk's own times, cut to the chunk."""
    return max(interval.first_ms, chunk.first_ms) - chunk.base_ms, min(interval.last_ms, chunk.last_ms) - chunk.base_ms


def aggregate_mask(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Bools:
    """Rows with a wanted aggregate; an undefined aggregate never passes, and the sum of no events is 0."""
    if node.aggregate in (Aggregate.SUM, Aggregate.AVG):
        return _sum_mask(view, node, stats)
    return _extreme_mask(view, node, stats)


def _sum_mask(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Bools:
    parts = list(terms(view, node, stats))
    if node.aggregate is Aggregate.SUM:
        quick = decimal_sum_mask(parts, node.wanted, view.row_count)
        if quick is not None:
            return ~quick if node.negated else quick
    sums = Sums(view.row_count)
    for part in parts:
        sums.add(part)
    if node.aggregate is Aggregate.AVG:
        averages, defined = sums.averages()
        mask = range_mask(averages, node.wanted)
        return defined & (~mask if node.negated else mask)
    mask = sums.integers_inside(node.wanted)
    if sums.any_floats:
        mask = np.where(sums.float_rows(), range_mask(sums.rounded(), node.wanted), mask)
    return ~mask if node.negated else mask


def _extreme_mask(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Bools:
    sign = 1 if node.aggregate is Aggregate.MIN else -1
    integers: I64 = np.full(view.row_count, INT_MAX if sign > 0 else INT_MIN, np.int64)
    floats: F64 = np.full(view.row_count, sign * np.inf, np.float64)
    has_integer: Bools = np.zeros(view.row_count, np.bool_)
    has_float: Bools = np.zeros(view.row_count, np.bool_)
    raise_or_lower = aggregate.lowest if sign > 0 else aggregate.highest
    for part in terms(view, node, stats):
        rows = part.rows()
        if part.column.kind is Kind.INT:
            raise_or_lower(rows, part.integers(), integers)
            aggregate.mark_rows(rows, has_integer)
        else:
            raise_or_lower(rows, part.floats(), floats)
            aggregate.mark_rows(rows, has_float)
    defined = has_integer | has_float
    mask = _extreme_inside(node, sign, (integers, has_integer), (floats, has_float))
    return defined & (~mask if node.negated else mask)


def _extreme_inside(node: BoundAggregate, sign: int, integers: tuple[I64, Bools], floats: tuple[F64, Bools]) -> Bools:
    """Mask of the rows where the extreme over both kinds lies in the range; neither kind is rounded to the other.

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
    """Rows with their first (last) event up to until_ms in the interval: any in it, none before (after) it."""
    first_ms, last_ms = max(node.interval.first_ms, TIME_MIN_MS), min(node.interval.last_ms, node.until_ms)
    beyond = Interval(last_ms + 1, node.until_ms)
    if node.occurrence is Occurrence.FIRST:
        beyond = Interval(TIME_MIN_MS, first_ms - 1)
    inside, outside = np.zeros(view.row_count, np.bool_), np.zeros(view.row_count, np.bool_)
    for interval, seen in ((Interval(first_ms, last_ms), inside), (beyond, outside)):
        _mark(view, node.events, interval, seen, stats)
    inside &= ~outside
    return inside
