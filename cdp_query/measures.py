"""Comparisons of numeric expressions: each measure is taken once per row, then calculated with."""

from __future__ import annotations

import numpy as np

from cdp_query.bound_measures import BoundArithmetic, BoundExpression, BoundExpressionTest, BoundMeasure
from cdp_query.days import days_by_row
from cdp_query.event_tests import event_counts
from cdp_query.numbers import Numbers, calculate, compare, constant
from cdp_query.stats import NodeStats
from cdp_query.tree import Measured, Number
from cdp_store.arrays import Bools
from cdp_store.view import PartitionView


def expression_mask(view: PartitionView, node: BoundExpressionTest, stats: NodeStats) -> Bools:
    """Rows where the comparison holds: bool[row_count]."""
    left, right = (_numbers(view, side, stats) for side in (node.left, node.right))
    return compare(node.op, left, right)


def _numbers(view: PartitionView, expression: BoundExpression, stats: NodeStats) -> Numbers:
    match expression:
        case Number(value):
            return constant(value, view.row_count)
        case BoundArithmetic(op, left, right):
            return calculate(op, _numbers(view, left, stats), _numbers(view, right, stats))
        case BoundMeasure():
            return _measured(view, expression, stats)


def _measured(view: PartitionView, measure: BoundMeasure, stats: NodeStats) -> Numbers:
    match measure.function:
        case Measured.COUNT:
            return Numbers(event_counts(view, measure.events, measure.interval, stats).astype(np.int64))
        case Measured.DAYS:
            days = days_by_row(view, measure.events, measure.interval, measure.tz, stats)
            return Numbers(days.astype(np.int64))
