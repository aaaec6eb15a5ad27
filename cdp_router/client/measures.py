"""Numbers about a user's events: measured, combined in formulas, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.comparisons import Compared
from cdp_router.client.expressions import Events, Filter, Segment
from cdp_router.client.literals import literal
from cdp_router.client.windows import Windowed

__all__ = [
    "avg_of",
    "count",
    "days",
    "distinct_of",
    "max_of",
    "median_of",
    "min_of",
    "number",
    "p95_of",
    "streak",
    "sum_of",
    "weeks",
]

_AGGREGATES: Final = {
    "SUM": pb.AGGREGATE_FUNCTION_SUM,
    "MIN": pb.AGGREGATE_FUNCTION_MIN,
    "MAX": pb.AGGREGATE_FUNCTION_MAX,
    "AVG": pb.AGGREGATE_FUNCTION_AVG,
}


class Number(Compared):
    """A number for formulas (+ - * /) and for comparisons with another, or with a plain number."""

    def terms(self) -> list[pb.Term]:
        """The number as a formula in postfix order."""
        raise NotImplementedError

    def _compare(self, operator: Any, value: Any) -> Segment:
        left, right = pb.Expression(terms=self.terms()), pb.Expression(terms=_number(value).terms())
        return Segment(pb.Segment(expression=pb.ExpressionTest(left=left, operator=operator, right=right)))

    def __add__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_ADD, self, _number(other))

    def __radd__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_ADD, _number(other), self)

    def __sub__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_SUBTRACT, self, _number(other))

    def __rsub__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_SUBTRACT, _number(other), self)

    def __mul__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_MULTIPLY, self, _number(other))

    def __rmul__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_MULTIPLY, _number(other), self)

    def __truediv__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_DIVIDE, self, _number(other))

    def __rtruediv__(self, other: Any) -> Number:
        return _Calculated(pb.ARITHMETIC_OPERATOR_DIVIDE, _number(other), self)


class _Plain(Number):
    def __init__(self, value: int | float) -> None:
        self._value = value

    def terms(self) -> list[pb.Term]:
        return [pb.Term(number=literal(self._value))]


class _Calculated(Number):
    def __init__(self, operator: pb.ArithmeticOperator.ValueType, left: Number, right: Number) -> None:
        self._operator, self._left, self._right = operator, left, right

    def terms(self) -> list[pb.Term]:
        return [*self._left.terms(), *self._right.terms(), pb.Term(operation=self._operator)]


def number(value: int | float) -> Number:
    """A plain number at the start of a formula: number(5) > count("Charged")."""
    return _number(value)


def _number(value: Any) -> Number:
    if isinstance(value, Number):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number to calculate or compare with")
    return _Plain(value)


class Measured(Number, Windowed):
    """One number per user over events in a window."""

    def __init__(self, function: str, names: str | Sequence[str], filters: Sequence[Filter], name: str = "") -> None:
        self._function, self._name = function, name
        self._events = Events(names, *filters).message()
        self._in = pb.Window()

    def terms(self) -> list[pb.Term]:
        function = pb.MeasureFunction.Value(f"MEASURE_FUNCTION_{self._function}")
        measure = pb.Measure(function=function, events=self._events, property=self._name, window=self._given())
        return [pb.Term(measure=measure)]

    def _window(self) -> pb.Window:
        return self._in

    def _given(self) -> pb.Window | None:
        return self._in if self._in.WhichOneof("form") else None

    def _compare(self, operator: Any, value: Any) -> Segment:
        if isinstance(value, Number) or self._function not in _AGGREGATES:
            return super()._compare(operator, value)
        test = pb.AggregateTest(
            function=_AGGREGATES[self._function],
            property=self._name,
            events=self._events,
            window=self._given(),
            operator=operator,
            value=_number(value).terms()[0].number,
        )
        return Segment(pb.Segment(aggregate=test))


class Measure(Measured):
    """Any such number except a count.

    It is not derived from the class of counts, nor the reverse. Python lets the right side of a comparison answer first
    if its class derives from that of the left side, which would swap the two.
    """


class count(Measured):  # noqa: N801  # reads as a word of the language
    """Number of such events of a user in the window."""

    def __init__(self, names: str | Sequence[str], *filters: Filter) -> None:
        super().__init__("COUNT", names, filters)
        self._exclude_zero = False

    def exclude_zero(self) -> count:
        """Leaves out users that have no such event."""
        self._exclude_zero = True
        return self

    def terms(self) -> list[pb.Term]:
        """The number as a formula, which cannot leave out zero."""
        if self._exclude_zero:
            raise TypeError("a count that leaves out zero is compared with a plain number only")
        return super().terms()

    def _compare(self, operator: Any, value: Any) -> Segment:
        if isinstance(value, Number):
            return super()._compare(operator, value)
        test = pb.CountTest(
            events=self._events,
            window=self._given(),
            operator=operator,
            value=_number(value).terms()[0].number,
            exclude_zero=self._exclude_zero,
        )
        return Segment(pb.Segment(count=test))


def days(names: str | Sequence[str], *filters: Filter) -> Measure:
    """Number of local dates with such an event."""
    return Measure("DAYS", names, filters)


def weeks(names: str | Sequence[str], *filters: Filter) -> Measure:
    """Number of weeks of local dates, each from Monday, with such an event."""
    return Measure("WEEKS", names, filters)


def streak(names: str | Sequence[str], *filters: Filter) -> Measure:
    """Length of the longest run of consecutive local dates with such an event."""
    return Measure("STREAK", names, filters)


def sum_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The sum of a property over the events."""
    return Measure("SUM", names, filters, name)


def min_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The smallest value of a property over the events."""
    return Measure("MIN", names, filters, name)


def max_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The largest value of a property over the events."""
    return Measure("MAX", names, filters, name)


def avg_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The mean of a property over the events."""
    return Measure("AVG", names, filters, name)


def median_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The median of a property over the events."""
    return Measure("MEDIAN", names, filters, name)


def p95_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The 95th percentile of a property over the events."""
    return Measure("P95", names, filters, name)


def distinct_of(names: str | Sequence[str], name: str, *filters: Filter) -> Measure:
    """The number of different values of a property over the events."""
    return Measure("DISTINCT", names, filters, name)
