"""Predicates over events beyond counts and aggregates, and filters on an event's time."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cdp_query.tree.conditions import Duration, Infix, Op
from cdp_query.tree.events import Events
from cdp_query.tree.window_forms import ALWAYS, Window

# Only for the annotation, as in events.py.
if TYPE_CHECKING:
    from cdp_query.tree.segments import Node

__all__ = [
    "WEEKDAYS",
    "Edge",
    "EdgeValueTest",
    "EventTest",
    "HourTest",
    "Inactive",
    "MostlyTest",
    "NthTest",
    "RecencyTest",
    "RegularlyTest",
    "ResumedTest",
    "ShareTest",
    "StoppedTest",
    "TimeFilter",
    "WeekdayTest",
]

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class RecencyTest:
    """T minus the time of the last such event against a duration; never done is infinitely long ago."""

    events: Events
    op: Op
    duration: Duration
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class Inactive:
    """No event of any name in (T - duration, T]."""

    duration: Duration


class Edge(enum.Enum):
    """The event of a user whose value is tested: the first or the last with the property."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class EdgeValueTest:
    """A condition on the property's value on the first (last) such event that has it; none: false."""

    edge: Edge
    property: str
    events: Events
    window: Window
    condition: Infix


@dataclass(frozen=True, slots=True)
class NthTest:
    """The `number`-th such event, from 1, passes the filter; fewer events: false."""

    events: Events
    number: int
    where: Node | None = None
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class MostlyTest:
    """A most frequent value of the property satisfies the condition; all tied values count, none: false."""

    property: str
    events: Events
    window: Window
    condition: Infix


@dataclass(frozen=True, slots=True)
class ShareTest:
    """The share of events that satisfy the condition among those that have the property, against a number."""

    property: str
    events: Events
    window: Window
    condition: Infix
    op: Op
    value: int | float


@dataclass(frozen=True, slots=True)
class RegularlyTest:
    """At least `times` events in each of at least `periods` of the last `of_last` complete calendar units."""

    events: Events
    times: int
    unit: str  # one of CALENDAR_UNITS
    periods: int
    of_last: int


@dataclass(frozen=True, slots=True)
class StoppedTest:
    """Such events in the earlier window and none in the later one."""

    events: Events
    earlier: Window
    later: Window


@dataclass(frozen=True, slots=True)
class ResumedTest:
    """No such event in the gap, but some before it and some after it."""

    events: Events
    gap: Window


@dataclass(frozen=True, slots=True)
class HourTest:
    """The event happened at a local hour in [first, last), which may wrap midnight; only inside event filters."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WeekdayTest:
    """The event happened on one of these local days of the week, Monday being 1; only inside event filters."""

    days: frozenset[int]


EventTest = (
    RecencyTest
    | Inactive
    | EdgeValueTest
    | NthTest
    | MostlyTest
    | ShareTest
    | RegularlyTest
    | StoppedTest
    | ResumedTest
)
TimeFilter = HourTest | WeekdayTest
