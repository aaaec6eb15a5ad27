"""Numbers about a user's events, calculated with and compared with each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from cdp_query.tree.conditions import Op
from cdp_query.tree.events import Events
from cdp_query.tree.window_forms import ALWAYS, Window

__all__ = [
    "PROPERTY_MEASURES",
    "Arithmetic",
    "ArithmeticOp",
    "Expression",
    "ExpressionTest",
    "Measure",
    "Measured",
    "Number",
]


class Measured(enum.Enum):
    """Measures of a user's events in a window: counts, and statistics of a property."""

    COUNT = "count"
    DAYS = "days"
    WEEKS = "weeks"
    STREAK = "streak"
    DISTINCT = "distinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    MEDIAN = "median"
    P95 = "p95"


PROPERTY_MEASURES: Final = frozenset(Measured) - {Measured.COUNT, Measured.DAYS, Measured.WEEKS, Measured.STREAK}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Measure:
    """One number per user; `property` is given for the measures of PROPERTY_MEASURES, and only for them."""

    function: Measured
    events: Events
    property: str | None = None
    window: Window = ALWAYS


class ArithmeticOp(enum.Enum):
    """Arithmetic operators between two numeric expressions."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """left op right; integers stay integers except under `/`."""

    op: ArithmeticOp
    left: Expression
    right: Expression


Expression = Number | Measure | Arithmetic


@dataclass(frozen=True, slots=True)
class ExpressionTest:
    """left op right for two numeric expressions; false if either side is undefined."""

    left: Expression
    op: Op
    right: Expression
