"""Comparisons of numeric expressions: each measure is computed once per row, then used in the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cdp_query.bind.bound_measures import BoundArithmetic, BoundExpression, BoundExpressionTest, BoundMeasure
from cdp_query.evaluate.active_days import days_by_row, streaks_by_row, weeks_by_row
from cdp_query.evaluate.event_counts import event_counts
from cdp_query.scan.numbers import Numbers, calculate, compare, constant
from cdp_query.scan.order_statistics import distinct_by_row, order_statistic
from cdp_query.scan.property_values import property_columns
from cdp_query.scan.sums import Sums
from cdp_query.scan.terms import Terms
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_query.tree import Measured, Number
from cdp_store.arrays import Bools
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind


def expression_mask(view: PartitionView, node: BoundExpressionTest, stats: NodeStats) -> Bools:
    """Rows where the comparison holds: bool[row_count]."""
    left, right = (_numbers(view, side, stats) for side in (node.left, node.right))
    return compare(node.op, left, right)


def expression_numbers(view: PartitionView, expression: BoundExpression, stats: NodeStats) -> Numbers:
    """The number of each row."""
    return _numbers(view, expression, stats)


def _numbers(view: PartitionView, expression: BoundExpression, stats: NodeStats) -> Numbers:
    match expression:
        case Number(value):
            return constant(value, view.row_count)
        case BoundArithmetic(op, left, right):
            return calculate(op, _numbers(view, left, stats), _numbers(view, right, stats))
        case BoundMeasure():
            return _measured(view, expression, stats)


def _measured(view: PartitionView, written: BoundMeasure, stats: NodeStats) -> Numbers:
    measure = replace(written, events=anchored(written.events, view, stats))
    match measure.function:
        case Measured.COUNT:
            return Numbers(event_counts(view, measure.events, measure.interval, stats).astype(np.int64))
        case Measured.DAYS:
            days = days_by_row(view, measure.events, measure.interval, measure.tz, stats)
            return Numbers(days.astype(np.int64))
        case Measured.WEEKS:
            weeks = weeks_by_row(view, measure.events, measure.interval, measure.tz, stats)
            return Numbers(weeks.astype(np.int64))
        case Measured.STREAK:
            streaks = streaks_by_row(view, measure.events, measure.interval, measure.tz, stats)
            return Numbers(streaks.astype(np.int64))
    parts = property_columns(view, measure.events, measure.interval, measure.property, stats)
    if measure.function in (Measured.SUM, Measured.AVG):
        return _added(measure.function, parts, view.row_count, stats)
    if measure.function is Measured.DISTINCT:
        return Numbers(distinct_by_row(list(parts), view.row_count))
    return order_statistic(measure.function, list(parts), view.row_count, stats)


def _added(function: Measured, parts: Iterator[Terms], row_count: int, stats: NodeStats) -> Numbers:
    sums = Sums(row_count)
    for part in parts:
        if part.column.kind in (Kind.INT, Kind.FLOAT):
            sums.add(part)
        else:
            stats.type_mismatch += len(part)
    if function is Measured.SUM:
        return Numbers(*sums.totals())
    averages, defined = sums.averages()
    return Numbers(np.zeros(row_count, np.int64), averages, np.ones(row_count, np.bool_), defined)
