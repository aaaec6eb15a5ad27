"""The newer event predicates of segments.md, section 3, as plain Python; oracle.py asks here.

`done` gives the user's visible events of a set inside a window, ordered by time, ties by arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from math import isfinite
from zoneinfo import ZoneInfo

from cdp_query import tree
from tests.oracle_windows import local_date
from tests.raw_records import Event

Done = Callable[[tree.Events, tree.Window], list[Event]]
Number = int | float

_INT64 = range(-(1 << 63), 1 << 63)


def number_of(expression: tree.Expression, done: Done, context: tree.Context) -> Number | None:
    """The value of an expression for one user, None where it is undefined."""
    match expression:
        case tree.Number(value):
            return value
        case tree.Arithmetic(op, left, right):
            first, second = (number_of(side, done, context) for side in (left, right))
            return None if first is None or second is None else _calculated(op, first, second)
        case tree.Measure(function, events, _, window):
            return _measured(function, done(events, window), context)


def _calculated(op: tree.ArithmeticOp, a: Number, b: Number) -> Number | None:
    """Exact among integers while the result fits 64 bits, in float64 beyond; no finite number is no number."""
    if op is not tree.ArithmeticOp.DIVIDE and isinstance(a, int) and isinstance(b, int):
        exact = {
            tree.ArithmeticOp.ADD: a + b,
            tree.ArithmeticOp.SUBTRACT: a - b,
            tree.ArithmeticOp.MULTIPLY: a * b,
        }[op]
        if exact in _INT64:
            return exact
    a, b = float(a), float(b)
    if op is tree.ArithmeticOp.DIVIDE:
        result = a / b if b else float("nan")
    else:
        result = {
            tree.ArithmeticOp.ADD: a + b,
            tree.ArithmeticOp.SUBTRACT: a - b,
            tree.ArithmeticOp.MULTIPLY: a * b,
        }[op]
    return result if isfinite(result) else None


def _measured(function: tree.Measured, events: list[Event], context: tree.Context) -> Number | None:
    match function:
        case tree.Measured.COUNT:
            return len(events)
        case tree.Measured.DAYS:
            return len(_dates(events, context))


def _dates(events: list[Event], context: tree.Context) -> set[date]:
    return {local_date(event.ts, ZoneInfo(context.tz)) for event in events}
