"""Segments, filters and the values in their conditions, built as messages of cdp.v1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Final, TypeVar

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.comparisons import Compared, Value
from cdp_router.client.literals import literal, moment, span
from cdp_router.client.windows import window_of


class Segment:
    """A set of users, defined by a predicate; combined with &, | and ~."""

    def __init__(self, message: pb.Segment) -> None:
        self._message = message

    def message(self) -> pb.Segment:
        """The segment as a message."""
        return self._message

    def question(self) -> pb.Question:
        """The segment as a question."""
        return pb.Question(segment=self._message)

    def by(self, attribute: str) -> Report:
        """Counts the members by the value of an attribute."""
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
    """A predicate over the properties and time of an event; combined with &, | and ~."""

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
    """A question other than a segment."""

    def __init__(self, message: pb.Question) -> None:
        self._message = message

    def question(self) -> pb.Question:
        """The report as a question."""
        return self._message


def together(filters: Sequence[Filter]) -> Filter:
    """One filter that passes events that all of these pass."""
    return filters[0] if len(filters) == 1 else all_of(*filters)


class Events:
    """Events with one of some names that pass all filters."""

    def __init__(self, names: str | Sequence[str], *filters: Filter) -> None:
        given = [names] if isinstance(names, str) else list(names)
        self._message = pb.EventSet(names=given)
        if filters:
            self._message.where.CopyFrom(together(filters).message())

    def message(self) -> pb.EventSet:
        """The events as a message."""
        return self._message


class _Listed(Value):
    """A value that may be a list of objects, whose items are tested by filters on their fields."""

    def any_item(self, *filters: Filter) -> Any:
        """True if one item passes all filters; a field of it is prop("name")."""
        return self._items(pb.ITEMS_OPERATOR_ANY, filters)

    def all_items(self, *filters: Filter) -> Any:
        """True if every item passes all filters."""
        return self._items(pb.ITEMS_OPERATOR_ALL, filters)

    def no_item(self, *filters: Filter) -> Any:
        """True if no item passes all filters; also true where no list is set."""
        return self._items(pb.ITEMS_OPERATOR_NONE, filters)

    def _items(self, operator: Any, filters: Sequence[Filter]) -> Any:
        test = pb.ItemsTest(operator=operator, where=together(filters).message())
        return self._test(pb.Condition(items=test))


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


class prop(_Listed):  # noqa: N801  # reads as a word of the language
    """A property of the event, inside the filters of an event."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _test(self, condition: pb.Condition) -> Filter:
        return Filter(pb.Filter(property=pb.PropertyTest(name=self._name, condition=condition)))

    def distance(self, latitude: float, longitude: float) -> _Distance:
        """Distance in metres from NAME.lat, NAME.lon to a place, for a comparison."""
        return _Distance(lambda test: Filter(pb.Filter(distance=test)), self._name, latitude, longitude)


class attr(_Listed):  # noqa: N801  # reads as a word of the language
    """An attribute of the profile at the instant of the question."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _test(self, condition: pb.Condition) -> Segment:
        return Segment(pb.Segment(attribute=pb.AttributeTest(name=self.name, condition=condition)))

    def distance(self, latitude: float, longitude: float) -> _Distance:
        """Distance in metres from NAME.lat, NAME.lon to a place, for a comparison."""
        return _Distance(lambda test: Segment(pb.Segment(distance=test)), self.name, latitude, longitude)

    def was(self, **window: Any) -> _Was:
        """The attribute at any instant of a window: attr("plan").was(last="30d") == "gold"."""
        return _Was(self.name, window_of(window))

    def value_at(self, at: str | date | datetime) -> _ValueAt:
        """The attribute at a date or instant, or this long ago ("30d")."""
        return _ValueAt(self.name, at)

    def changed(self, before: Any = None, after: Any = None, **window: Any) -> Segment:
        """The attribute changed in the window; each side is a value, a list of values, SET or UNSET."""
        sides = [None if side is None else _side(side) for side in (before, after)]
        return Segment(
            pb.Segment(
                changed=pb.ChangedTest(name=self.name, before=sides[0], after=sides[1], window=window_of(window))
            )
        )

    def unchanged(self, length: str) -> Segment:
        """The attribute is set and has not changed for this long."""
        return Segment(pb.Segment(unchanged=pb.UnchangedTest(name=self.name, span=span(length))))


SET: Final = pb.ChangeSide()
UNSET: Final = pb.ChangeSide(unset=True)


def _side(side: Any) -> pb.ChangeSide:
    if isinstance(side, pb.ChangeSide):
        return side
    return pb.ChangeSide(values=map(literal, side if isinstance(side, list | tuple) else [side]))


class _Was(_Listed):
    def __init__(self, name: str, window: pb.Window | None) -> None:
        self._name, self._window = name, window

    def _test(self, condition: pb.Condition) -> Segment:
        return Segment(pb.Segment(was=pb.WasTest(name=self._name, condition=condition, window=self._window)))


class _ValueAt(_Listed):
    def __init__(self, name: str, at: str | date | datetime) -> None:
        self._name, self._at = name, at

    def _test(self, condition: pb.Condition) -> Segment:
        test = pb.ValueAtTest(name=self._name, condition=condition)
        if isinstance(self._at, str) and "-" not in self._at:
            test.ago.CopyFrom(span(self._at))
        else:
            test.moment = moment(self._at)
        return Segment(pb.Segment(value_at=test))


def _items(segment: Segment, kind: str) -> Sequence[pb.Segment]:
    message = segment.message()
    return list(getattr(message, kind).items) if message.WhichOneof("node") == kind else [message]


def _filters(given: Filter, kind: str) -> Sequence[pb.Filter]:
    message = given.message()
    return list(getattr(message, kind).items) if message.WhichOneof("node") == kind else [message]


Part = TypeVar("Part", Segment, Filter)


def all_of(*parts: Part) -> Part:
    """Every part holds; always one group, even if a part is a group of the same kind."""
    return _group(parts, is_all=True)


def any_of(*parts: Part) -> Part:
    """At least one part holds; always one group, even if a part is a group of the same kind."""
    return _group(parts, is_all=False)


def _group(parts: Sequence[Part], *, is_all: bool) -> Part:
    kinds = {type(part.message()) for part in parts}
    if len(kinds) != 1:
        raise TypeError("a group is made of one or more segments, or of one or more filters")
    messages: Any = [part.message() for part in parts]
    group: Any
    if kinds == {pb.Filter}:
        filters = pb.Filters(items=messages)
        group = Filter(pb.Filter(all=filters) if is_all else pb.Filter(any=filters))
    else:
        segments = pb.Segments(items=messages)
        group = Segment(pb.Segment(all=segments) if is_all else pb.Segment(any=segments))
    return group  # type: ignore[no-any-return]
