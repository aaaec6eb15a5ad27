"""Predicates over events other than counts and sums, and filters on an event's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.comparisons import Compared, Tested
from cdp_router.client.expressions import Events, Filter, Segment, together
from cdp_router.client.literals import literal, span
from cdp_router.client.windows import Windowed, calendar_unit, window_of

__all__ = [
    "first_of",
    "hour",
    "last_of",
    "mostly",
    "nth",
    "recency",
    "regularly",
    "resumed",
    "share",
    "stopped",
    "weekday",
]

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Names = str | Sequence[str]


class _OfEvents(Windowed):
    """Events in a window, the subject of a predicate."""

    def __init__(self, names: Names, filters: Sequence[Filter]) -> None:
        self._events = Events(names, *filters).message()
        self._in = pb.Window()

    def _window(self) -> pb.Window:
        return self._in

    def _given(self) -> pb.Window | None:
        return self._in if self._in.WhichOneof("form") else None


class recency(_OfEvents, Compared):  # noqa: N801  # reads as a word of the language
    """Time since the last such event, compared with a duration: recency("Charged") > "30d"."""

    def __init__(self, names: Names, *filters: Filter) -> None:
        super().__init__(names, filters)

    def _compare(self, operator: Any, value: str) -> Segment:
        test = pb.RecencyTest(events=self._events, operator=operator, duration=span(value), window=self._given())
        return Segment(pb.Segment(recency=test))


class _EdgeValue(_OfEvents, Tested):
    def __init__(self, edge: Any, names: Names, name: str, filters: Sequence[Filter]) -> None:
        super().__init__(names, filters)
        self._edge, self._name = edge, name

    def _test(self, condition: pb.Condition) -> Segment:
        test = pb.EdgeValueTest(
            edge=self._edge, property=self._name, events=self._events, window=self._given(), condition=condition
        )
        return Segment(pb.Segment(edge_value=test))


def first_of(names: Names, name: str, *filters: Filter) -> _EdgeValue:
    """The property's value on the first event that has it."""
    return _EdgeValue(pb.EDGE_FIRST, names, name, filters)


def last_of(names: Names, name: str, *filters: Filter) -> _EdgeValue:
    """The property's value on the last event that has it."""
    return _EdgeValue(pb.EDGE_LAST, names, name, filters)


class mostly(_OfEvents, Tested):  # noqa: N801  # reads as a word of the language
    """The property's most frequent value, including ties: mostly("Charged", "method") == "card"."""

    def __init__(self, names: Names, name: str, *filters: Filter) -> None:
        super().__init__(names, filters)
        self._name = name

    def _test(self, condition: pb.Condition) -> Segment:
        test = pb.MostlyTest(property=self._name, events=self._events, window=self._given(), condition=condition)
        return Segment(pb.Segment(mostly=test))


class share(_OfEvents, Tested):  # noqa: N801  # reads as a word of the language
    """The share of events with such a value among those that have the property.

    It takes two comparisons, the first in parentheses:

        (share("Charged", "method") == "card") >= 0.4
    """

    def __init__(self, names: Names, name: str, *filters: Filter) -> None:
        super().__init__(names, filters)
        self._name = name

    def _test(self, condition: pb.Condition) -> _Share:
        return _Share(pb.ShareTest(property=self._name, events=self._events, window=self._given(), condition=condition))


class _Share(Compared):
    def __init__(self, test: pb.ShareTest) -> None:
        self._test = test

    def _compare(self, operator: Any, value: float) -> Segment:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"a share is compared with a number, not with {value!r}")
        test = pb.ShareTest(operator=operator, value=literal(value))
        test.MergeFrom(self._test)
        return Segment(pb.Segment(share=test))

    def __bool__(self) -> bool:
        raise TypeError('a share is compared in parentheses: (share("Charged", "method") == "card") >= 0.4')


class nth(Segment, Windowed):  # noqa: N801  # reads as a word of the language
    """The number-th event, counted from 1, passes all filters: nth(Events("Charged"), 2, prop("amount") > 10)."""

    def __init__(self, events: str | Events, number: int, *filters: Filter) -> None:
        test = pb.NthTest(events=_message(events), number=number)
        if filters:
            test.where.CopyFrom(together(filters).message())
        super().__init__(pb.Segment(nth=test))

    def _window(self) -> pb.Window:
        return self._message.nth.window


def regularly(names: Names, *filters: Filter, times: int, per: str, periods: int, of_last: int) -> Segment:
    """At least `times` events in each of at least `periods` of the last complete days, weeks, months or years."""
    test = pb.RegularlyTest(
        events=Events(names, *filters).message(),
        times=times,
        unit=calendar_unit(per),
        periods=periods,
        of_last=of_last,
    )
    return Segment(pb.Segment(regularly=test))


def stopped(names: Names, *filters: Filter, earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Segment:
    """The event happened in the earlier window and not in the later: stopped("Charged", earlier={"ago": ("30d",
    "90d")}, ...).
    """
    events = Events(names, *filters).message()
    return Segment(
        pb.Segment(stopped=pb.StoppedTest(events=events, earlier=window_of(earlier), later=window_of(later)))
    )


def resumed(names: Names, *filters: Filter, gap: Mapping[str, Any]) -> Segment:
    """The event did not happen in the gap, but before and after it: resumed("Charged", gap={"ago": ("30d", "60d")})."""
    events = Events(names, *filters).message()
    return Segment(pb.Segment(resumed=pb.ResumedTest(events=events, gap=window_of(gap))))


def hour(first: int, last: int) -> Filter:
    """The event happened at a local hour in [first, last), which may wrap midnight."""
    return Filter(pb.Filter(hour=pb.HourTest(first=first, last=last)))


def weekday(*days: str) -> Filter:
    """The event happened on one of these local days: weekday("sat", "sun")."""
    unknown = [day for day in days if day not in _WEEKDAYS]
    if unknown or not days:
        raise ValueError(f"{', '.join(map(repr, unknown)) or 'no day'}: days are {', '.join(_WEEKDAYS)}")
    return Filter(pb.Filter(weekday=pb.WeekdayTest(days=sorted({_WEEKDAYS.index(day) + 1 for day in days}))))


def _message(events: str | Events) -> pb.EventSet:
    return (Events(events) if isinstance(events, str) else events).message()
