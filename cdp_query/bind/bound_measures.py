"""Bound numeric expressions."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.tree import ArithmeticOp, Measured, Number, Op


@dataclass(frozen=True, slots=True)
class BoundMeasure:
    """One number per user over events in the interval; `tz` gives the local dates."""

    function: Measured
    events: BoundEvents
    property: int | None
    interval: Interval
    tz: str


@dataclass(frozen=True, slots=True)
class BoundArithmetic:
    """left op right."""

    op: ArithmeticOp
    left: BoundExpression
    right: BoundExpression


BoundExpression = Number | BoundMeasure | BoundArithmetic


@dataclass(frozen=True, slots=True)
class BoundExpressionTest:
    """left op right; false if either side is undefined."""

    id: int
    left: BoundExpression
    op: Op
    right: BoundExpression


def measures_of(expression: BoundExpression) -> tuple[BoundMeasure, ...]:
    """Every measure of an expression, left to right."""
    match expression:
        case BoundMeasure():
            return (expression,)
        case BoundArithmetic(_, left, right):
            return (*measures_of(left), *measures_of(right))
    return ()
