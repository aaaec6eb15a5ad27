"""Segments, filters and the values they put conditions on, built as messages of cdp.v1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.literals import Literal, literal, span
from cdp_router.client.windows import window_of

EQ: Final = pb.COMPARISON_OPERATOR_EQ
NE: Final = pb.COMPARISON_OPERATOR_NE
LT: Final = pb.COMPARISON_OPERATOR_LT
LE: Final = pb.COMPARISON_OPERATOR_LE
GT: Final = pb.COMPARISON_OPERATOR_GT
GE: Final = pb.COMPARISON_OPERATOR_GE


class Segment:
    """Which users; combined with &, | and ~."""

    def __init__(self, message: pb.Segment) -> None:
        self._message = message

    def message(self) -> pb.Segment:
        """The segment as a message."""
        return self._message

    def question(self) -> pb.Question:
        """The segment as a question."""
        return pb.Question(segment=self._message)

    def by(self, attribute: str) -> Report:
        """Count the members by the value of an attribute."""
        return Report(pb.Question(breakdown=pb.Breakdown(segment=self._message, attribute=attribute)))

    def __and__(self, other: Segment) -> Segment:
        return Segment(pb.Segment(all=pb.Segments(items=[*_items(self, "all"), *_items(other, "all")])))

    def __or__(self, other: Segment) -> Segment:
        return Segment(pb.Segment(any=pb.Segments(items=[*_items(self, "any"), *_items(other, "any")])))

    def __invert__(self) -> Segment:
        return Segment(pb.Segment(negation=self._message))

    def __bool__(self) -> bool:
        raise TypeError("a segment is not true or false here; combine segments with & | ~ and parentheses")


class Filter:
    """Which events; combined with &, | and ~."""

    def __init__(self, message: pb.Filter) -> None:
        self._message = message

    def message(self) -> pb.Filter:
        """The filter as a message."""
        return self._message

    def __and__(self, other: Filter) -> Filter:
        return Filter(pb.Filter(all=pb.Filters(items=[*_filters(self, "all"), *_filters(other, "all")])))

    def __or__(self, other: Filter) -> Filter:
        return Filter(pb.Filter(any=pb.Filters(items=[*_filters(self, "any"), *_filters(other, "any")])))

    def __invert__(self) -> Filter:
        return Filter(pb.Filter(negation=self._message))

    def __bool__(self) -> bool:
        raise TypeError("a filter is not true or false here; combine filters with & | ~ and parentheses")


class Report:
    """A question that is more than a segment."""

    def __init__(self, message: pb.Question) -> None:
        self._message = message

    def question(self) -> pb.Question:
        """The report as a question."""
        return self._message


class Events:
    """Events with one of some names that pass all filters."""

    def __init__(self, names: str | Sequence[str], *filters: Filter) -> None:
        given = [names] if isinstance(names, str) else list(names)
        self._message = pb.EventSet(names=given)
        if filters:
            whole = filters[0] if len(filters) == 1 else Filter(_all_of(filters))
            self._message.where.CopyFrom(whole.message())

    def message(self) -> pb.EventSet:
        """The events as a message."""
        return self._message


class Compared:
    """What comparison operators make a predicate of."""

    __hash__ = None  # type: ignore[assignment]

    def _compare(self, operator: Any, value: Any) -> Any:
        raise NotImplementedError

    def __eq__(self, value: object) -> Any:
        return self._compare(EQ, value)

    def __ne__(self, value: object) -> Any:
        return self._compare(NE, value)

    def __lt__(self, value: Any) -> Any:
        return self._compare(LT, value)

    def __le__(self, value: Any) -> Any:
        return self._compare(LE, value)

    def __gt__(self, value: Any) -> Any:
        return self._compare(GT, value)

    def __ge__(self, value: Any) -> Any:
        return self._compare(GE, value)


class Value(Compared):
    """A value that conditions are put on: an attribute, a property, or an attribute's value at another instant."""

    def _test(self, condition: pb.Condition) -> Any:
        raise NotImplementedError

    def _compare(self, operator: Any, value: Any) -> Any:
        return self._test(pb.Condition(comparison=pb.Comparison(operator=operator, value=literal(value))))

    def equals(self, text: str, *, ignore_case: bool) -> Any:
        """== of strings that may disregard case."""
        comparison = pb.Comparison(operator=EQ, value=literal(text), ignore_case=ignore_case)
        return self._test(pb.Condition(comparison=comparison))

    def is_in(self, values: Sequence[Literal], *, ignore_case: bool = False) -> Any:
        """One of these values."""
        return self._test(pb.Condition(one_of=pb.OneOf(values=map(literal, values), ignore_case=ignore_case)))

    def not_in(self, values: Sequence[Literal], *, ignore_case: bool = False) -> Any:
        """None of these values, unset included."""
        one_of = pb.OneOf(values=map(literal, values), negated=True, ignore_case=ignore_case)
        return self._test(pb.Condition(one_of=one_of))

    def between(self, low: Literal, high: Literal) -> Any:
        """low <= value <= high."""
        return self._test(pb.Condition(between=pb.Between(low=literal(low), high=literal(high))))

    def contains(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string has this part."""
        return self._text(pb.TEXT_OPERATOR_CONTAINS, part, ignore_case)

    def starts_with(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string begins so."""
        return self._text(pb.TEXT_OPERATOR_STARTS_WITH, part, ignore_case)

    def ends_with(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string ends so."""
        return self._text(pb.TEXT_OPERATOR_ENDS_WITH, part, ignore_case)

    def matches(self, pattern: str, *, ignore_case: bool = False) -> Any:
        """A regular expression in RE2 syntax is found in the string."""
        return self._text(pb.TEXT_OPERATOR_MATCHES, pattern, ignore_case)

    def _text(self, operator: Any, pattern: str, ignore_case: bool) -> Any:
        return self._test(pb.Condition(text=pb.TextTest(operator=operator, pattern=pattern, ignore_case=ignore_case)))

    def exists(self) -> Any:
        """Set to anything."""
        return self._test(pb.Condition(existence=pb.Existence()))

    def missing(self) -> Any:
        """Not set."""
        return self._test(pb.Condition(existence=pb.Existence(negated=True)))

    def has(self, value: Literal) -> Any:
        """The list holds the value."""
        return self._list(pb.LIST_OPERATOR_HAS, [value])

    def has_any(self, values: Sequence[Literal]) -> Any:
        """The list holds any of the values."""
        return self._list(pb.LIST_OPERATOR_HAS_ANY, values)

    def has_all(self, values: Sequence[Literal]) -> Any:
        """The list holds all of the values."""
        return self._list(pb.LIST_OPERATOR_HAS_ALL, values)

    def has_none(self, values: Sequence[Literal]) -> Any:
        """No list that holds any of the values."""
        return self._list(pb.LIST_OPERATOR_HAS_NONE, values)

    def _list(self, operator: Any, values: Sequence[Literal]) -> Any:
        return self._test(pb.Condition(list=pb.ListTest(operator=operator, values=map(literal, values))))

    def size(self) -> Derived:
        """The number of items of the list, to be compared."""
        return Derived(self, lambda operator, size: pb.Condition(size=pb.SizeTest(operator=operator, size=size)))

    def version(self) -> Derived:
        """The dotted number the string begins with, to be compared."""
        return Derived(
            self, lambda operator, text: pb.Condition(version=pb.VersionTest(operator=operator, version=text))
        )

    def within_last(self, length: str) -> Any:
        """A time not longer ago than this."""
        return self._test(pb.Condition(time=pb.TimeTest(side=pb.TIME_SIDE_LAST, span=span(length))))

    def within_next(self, length: str) -> Any:
        """A time not further ahead than this."""
        return self._test(pb.Condition(time=pb.TimeTest(side=pb.TIME_SIDE_NEXT, span=span(length))))

    def older_than(self, length: str) -> Any:
        """A time longer ago than this."""
        return self._test(pb.Condition(time=pb.TimeTest(side=pb.TIME_SIDE_OLDER, span=span(length))))

    def anniversary(self, first: str, last: str) -> Any:
        """A day of the year from `first` to `last` days from now."""
        return self._test(pb.Condition(anniversary=pb.Anniversary(first=span(first), last=span(last))))


class Derived(Compared):
    """Something computed from a value, to be compared."""

    def __init__(self, value: Value, condition: Callable[[Any, Any], pb.Condition]) -> None:
        self._value, self._condition = value, condition

    def _compare(self, operator: Any, value: Any) -> Any:
        return self._value._test(self._condition(operator, value))


class _Distance(Compared):
    def __init__(self, wrap: Callable[[pb.DistanceTest], Any], name: str, latitude: float, longitude: float) -> None:
        self._wrap, self._name, self._latitude, self._longitude = wrap, name, latitude, longitude

    def _compare(self, operator: Any, value: Any) -> Any:
        return self._wrap(
            pb.DistanceTest(
                name=self._name,
                latitude=self._latitude,
                longitude=self._longitude,
                operator=operator,
                metres=literal(value),
            )
        )


class prop(Value):  # noqa: N801  # reads as a word of the language
    """A property of the event at hand; inside the filters of an event."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _test(self, condition: pb.Condition) -> Filter:
        return Filter(pb.Filter(property=pb.PropertyTest(name=self._name, condition=condition)))

    def distance(self, latitude: float, longitude: float) -> _Distance:
        """Metres from NAME.lat, NAME.lon to a place, to be compared."""
        return _Distance(lambda test: Filter(pb.Filter(distance=test)), self._name, latitude, longitude)


class attr(Value):  # noqa: N801  # reads as a word of the language
    """An attribute of the profile as it stands when asked about."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _test(self, condition: pb.Condition) -> Segment:
        return Segment(pb.Segment(attribute=pb.AttributeTest(name=self._name, condition=condition)))

    def distance(self, latitude: float, longitude: float) -> _Distance:
        """Metres from NAME.lat, NAME.lon to a place, to be compared."""
        return _Distance(lambda test: Segment(pb.Segment(distance=test)), self._name, latitude, longitude)

    def was(self, **window: Any) -> _Was:
        """The attribute at any instant of a window: attr("plan").was(last="30d") == "gold"."""
        return _Was(self._name, window_of(window))

    def value_at(self, at: str | date | datetime) -> _ValueAt:
        """The attribute at a date or instant, or so long ago ("30d")."""
        return _ValueAt(self._name, at)

    def changed(self, before: Any = None, after: Any = None, **window: Any) -> Segment:
        """It became another value in the window; each side a value, a list of values, SET or UNSET."""
        sides = [None if side is None else _side(side) for side in (before, after)]
        return Segment(
            pb.Segment(
                changed=pb.ChangedTest(name=self._name, before=sides[0], after=sides[1], window=window_of(window))
            )
        )

    def unchanged(self, length: str) -> Segment:
        """It is set and has been the same for so long."""
        return Segment(pb.Segment(unchanged=pb.UnchangedTest(name=self._name, span=span(length))))


SET: Final = pb.ChangeSide()
UNSET: Final = pb.ChangeSide(unset=True)


def _side(side: Any) -> pb.ChangeSide:
    if isinstance(side, pb.ChangeSide):
        return side
    return pb.ChangeSide(values=map(literal, side if isinstance(side, list | tuple) else [side]))


class _Was(Value):
    def __init__(self, name: str, window: pb.Window | None) -> None:
        self._name, self._window = name, window

    def _test(self, condition: pb.Condition) -> Segment:
        return Segment(pb.Segment(was=pb.WasTest(name=self._name, condition=condition, window=self._window)))


class _ValueAt(Value):
    def __init__(self, name: str, at: str | date | datetime) -> None:
        self._name, self._at = name, at

    def _test(self, condition: pb.Condition) -> Segment:
        test = pb.ValueAtTest(name=self._name, condition=condition)
        if isinstance(self._at, date):
            test.moment = literal(self._at).moment
        elif "-" in self._at:
            test.moment = self._at
        else:
            test.ago.CopyFrom(span(self._at))
        return Segment(pb.Segment(value_at=test))


def _items(segment: Segment, kind: str) -> Sequence[pb.Segment]:
    message = segment.message()
    return list(getattr(message, kind).items) if message.WhichOneof("node") == kind else [message]


def _filters(given: Filter, kind: str) -> Sequence[pb.Filter]:
    message = given.message()
    return list(getattr(message, kind).items) if message.WhichOneof("node") == kind else [message]


def _all_of(filters: Sequence[Filter]) -> pb.Filter:
    return pb.Filter(all=pb.Filters(items=[item.message() for item in filters]))
