"""Predicates over a profile beyond one value at T: places, buckets, and the history of an attribute."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.tree.conditions import Condition, Duration, Literal, Moment, Op
from cdp_query.tree.window_forms import ALWAYS, Window

__all__ = [
    "BucketTest",
    "ChangeSide",
    "ChangedTest",
    "DistanceTest",
    "HistoryTest",
    "UnchangedTest",
    "ValueAtTest",
    "WasTest",
]


@dataclass(frozen=True, slots=True)
class DistanceTest:
    """Great-circle distance in metres from (name.lat, name.lon) to a place; inside filters of an event's property."""

    name: str
    latitude: float
    longitude: float
    op: Op
    metres: int | float


@dataclass(frozen=True, slots=True)
class BucketTest:
    """The profile's bucket, 0 to 999, lies between two numbers, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WasTest:
    """A value satisfying the condition was in force at some instant of the window."""

    name: str
    condition: Condition
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class ChangeSide:
    """A value on one side of a change: one of these; with none given any value that is set, or `unset`."""

    values: tuple[Literal, ...] = ()
    unset: bool = False


@dataclass(frozen=True, slots=True)
class ChangedTest:
    """In the window the attribute took another value; `before` and `after` limit the values (None: any)."""

    name: str
    before: ChangeSide | None = None
    after: ChangeSide | None = None
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class UnchangedTest:
    """The attribute is set and has not changed for a span of time."""

    name: str
    span: Duration


@dataclass(frozen=True, slots=True)
class ValueAtTest:
    """The value in force at an instant (a date: its first), or that long before T, satisfies the condition."""

    name: str
    at: Moment | Duration
    condition: Condition


HistoryTest = WasTest | ChangedTest | UnchangedTest | ValueAtTest
