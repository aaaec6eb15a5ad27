"""The newer event predicates of semantics.md, section 3, as plain Python; oracle.py asks here.

`done` gives the user's visible events of a set inside a window, ordered by time, ties by arrival.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import ceil, inf, isfinite
from zoneinfo import ZoneInfo

from cdp_query import tree
from tests.oracle_windows import local_date
from tests.oracle_zones import local_day
from tests.raw_records import Event, Value

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
        case tree.Measure(function, events, name, window):
            return _measured(function, name, done(events, window), context)


def _calculated(op: tree.ArithmeticOp, a: Number, b: Number) -> Number | None:
    """Exact among integers while they and the result fit 64 bits, in float64 beyond; no finite number is no number."""
    if op is not tree.ArithmeticOp.DIVIDE and all(isinstance(side, int) and side in _INT64 for side in (a, b)):
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


def in_order(events: tree.Events, happened: list[Event]) -> list[Event]:
    """By time; at one time in the order in which the question names them, then by arrival."""
    return sorted(happened, key=lambda event: (event.ts, events.names.index(event.name)))


def values_of(name: str | None, events: list[Event]) -> list[Value]:
    """The values of a property; null is no value."""
    return [event.properties[name] for event in events if name and event.properties.get(name) is not None]


def most_frequent(values: list[Value]) -> list[Value]:
    """One of each of the values that occur most often."""
    counts = Counter(map(_identity, values))
    return [value for value in values if counts[_identity(value)] == max(counts.values())]


def _measured(function: tree.Measured, name: str | None, events: list[Event], context: tree.Context) -> Number | None:
    match function:
        case tree.Measured.COUNT:
            return len(events)
        case tree.Measured.DAYS:
            return len(_dates(events, context))
        case tree.Measured.WEEKS:
            return len({day.isocalendar()[:2] for day in _dates(events, context)})
        case tree.Measured.STREAK:
            return _longest_streak(_dates(events, context))
    values = values_of(name, events)
    if function is tree.Measured.DISTINCT:
        return len({_identity(value) for value in values})
    return _of_numbers(
        function,
        [value for value in values if isinstance(value, int | float) and value is not True and value is not False],
    )


def _dates(events: list[Event], context: tree.Context) -> set[date]:
    return {local_date(event.ts, ZoneInfo(context.tz)) for event in events}


def _longest_streak(dates: set[date]) -> int:
    lengths = [0]
    for day in dates:
        length = 1
        while day + timedelta(days=length) in dates:
            length += 1
        lengths.append(length)
    return max(lengths)


def _identity(value: Value) -> object:
    """Equal for equal values: 1 and 1.0 are, true and 1 are not, lists are when they were written alike."""
    if isinstance(value, bool | list):
        return type(value).__name__, repr(value)
    return value


def _of_numbers(function: tree.Measured, numbers: list[Number]) -> Number | None:
    # Among equal numbers an integer stands before a float.
    ranked = sorted(numbers, key=lambda number: (number, isinstance(number, float)))
    count = len(ranked)
    if function is tree.Measured.SUM:
        return exact_sum(numbers)
    if not count:
        return None
    match function:
        case tree.Measured.AVG:
            return mean(numbers)
        case tree.Measured.MIN:
            return ranked[0]
        case tree.Measured.MAX:
            return ranked[-1]
        case tree.Measured.P95:
            return ranked[ceil(Fraction(95, 100) * count) - 1]
    return _middle(ranked[(count - 1) // 2], ranked[count // 2])


def _middle(low: Number, high: Number) -> Number:
    if type(low) is type(high) and low == high:
        return low
    if isinstance(low, int) and isinstance(high, int):
        return (low + high) / 2
    total = float(low) + float(high)
    return total / 2 if isfinite(total) else float(low) / 2 + float(high) / 2


def exact_sum(numbers: Sequence[Number]) -> Number:
    """Integers sum exactly, also beyond 64 bits; with a float among them the exact sum is rounded once to float64."""
    if not any(isinstance(number, float) for number in numbers):
        return sum(numbers)
    exact = sum(map(Fraction, numbers), Fraction(0))
    try:
        return float(exact)
    except OverflowError:
        return inf if exact > 0 else -inf


def mean(numbers: Sequence[Number]) -> float:
    """The sum as float64 divided by the number of values; one beyond float64 is taken in parts of 2**64."""
    total = float(exact_sum(numbers))
    if isfinite(total):
        return total / len(numbers)
    return float(sum(map(Fraction, numbers), Fraction(0)) / 2**64) / len(numbers) * 2.0**64


def at_local_time(test: tree.TimeFilter, ts: int, context: tree.Context) -> bool:
    """Whether an event happened at the hour or on the weekday asked for."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts)).astimezone(ZoneInfo(context.tz))
    match test:
        case tree.HourTest(first, last) if first < last:
            return first <= local.hour < last
        case tree.HourTest(first, last):
            return local.hour >= first or local.hour < last
        case tree.WeekdayTest(days):
            # 1 January of the year 1 was a Monday.
            return (local_day(ts, ZoneInfo(context.tz)) - 1) % 7 + 1 in days
