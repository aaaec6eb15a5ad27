"""Predicates over events beyond counts and aggregates, and filters on an event's time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cdp_query.tree.conditions import Duration, Op
from cdp_query.tree.events import Events
from cdp_query.tree.windows import ALWAYS, Window

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


@dataclass(frozen=True, slots=True)
class HourTest:
    """The event happened at a local hour in [first, last), which may wrap midnight; only inside event filters."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WeekdayTest:
    """The event happened on one of these local days of the week, Monday being 1; only inside event filters."""

    days: frozenset[int]


EventTest = RecencyTest | Inactive
TimeFilter = HourTest | WeekdayTest
