"""Bound predicates over profiles beyond one value at T: places, buckets, attribute history."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.calendar.windows import Interval
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.ranges import Range


@dataclass(frozen=True, slots=True)
class Circle:
    """Distances from a place, in degrees, that are wanted, in metres."""

    latitude: float
    longitude: float
    wanted: Range


@dataclass(frozen=True, slots=True)
class BoundDistance:
    """The place in two attributes lies at a wanted distance."""

    id: int
    latitude: int | None
    longitude: int | None
    circle: Circle


@dataclass(frozen=True, slots=True)
class FilterDistance:
    """The place in two properties of the event at hand lies at a wanted distance."""

    latitude: int | None
    longitude: int | None
    circle: Circle


@dataclass(frozen=True, slots=True)
class BoundBucket:
    """The profile's bucket lies between two numbers, both included."""

    id: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class BoundWas:
    """A value in force at some instant of the interval is matched."""

    id: int
    attribute: int | None
    matcher: Matcher
    interval: Interval


@dataclass(frozen=True, slots=True)
class BoundChanged:
    """In the interval a matched value was replaced by another matched value; None matches all, unset included."""

    id: int
    attribute: int | None
    before: Matcher | None
    after: Matcher | None
    interval: Interval


@dataclass(frozen=True, slots=True)
class BoundUnchanged:
    """Sets at the interval's end, with no other value since before its beginning."""

    id: int
    attribute: int | None
    interval: Interval


@dataclass(frozen=True, slots=True)
class BoundValueAt:
    """The value in force at an instant is matched."""

    id: int
    attribute: int | None
    matcher: Matcher
    instant_ms: int


BoundHistory = BoundWas | BoundChanged | BoundUnchanged | BoundValueAt
BoundProfile = BoundDistance | BoundBucket | BoundHistory
