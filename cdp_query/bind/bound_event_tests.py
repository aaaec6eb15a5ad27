"""Bound predicates over events beyond counts and aggregates."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cdp_query.bind.bound_events import BoundEvents, BoundFilter, FilterUserWindow
from cdp_query.calendar.windows import Interval
from cdp_query.matching.matcher import Matcher
from cdp_query.tree import Edge, Occurrence, Op
from cdp_store.limits import TIME_MIN_MS


@dataclass(frozen=True, slots=True)
class BoundUserOccurrence:
    """The first or last event up to `until_ms` lies in the user's own window."""

    id: int
    occurrence: Occurrence
    events: BoundEvents
    window: FilterUserWindow
    until_ms: int


@dataclass(frozen=True, slots=True)
class BoundRecency:
    """The last event in the interval compares with `at_ms`; no event is before everything."""

    id: int
    events: BoundEvents
    interval: Interval
    op: Op
    at_ms: int


@dataclass(frozen=True, slots=True)
class BoundEdgeValue:
    """A filter on the first or last event in the interval; `events` are those that have the property."""

    id: int
    edge: Edge
    events: BoundEvents
    interval: Interval
    test: BoundFilter


@dataclass(frozen=True, slots=True)
class BoundNth:
    """A filter, if any, on the number-th event in the interval."""

    id: int
    events: BoundEvents
    interval: Interval
    number: int
    test: BoundFilter | None


@dataclass(frozen=True, slots=True)
class BoundMostly:
    """A most frequent value of the property satisfies the matcher."""

    id: int
    property: int | None
    events: BoundEvents
    interval: Interval
    matcher: Matcher


@dataclass(frozen=True, slots=True)
class BoundShare:
    """The share of events whose value satisfies the matcher compares with `share`."""

    id: int
    property: int | None
    events: BoundEvents
    interval: Interval
    matcher: Matcher
    op: Op
    share: Fraction


@dataclass(frozen=True, slots=True)
class BoundRegularly:
    """At least `times` events in each of at least `periods` periods, which last from one of the starts to the next."""

    id: int
    events: BoundEvents
    starts_ms: tuple[int, ...]
    times: int
    periods: int


@dataclass(frozen=True, slots=True)
class BoundPhases:
    """Events in each of the wanted intervals and none in the others."""

    id: int
    events: BoundEvents
    wanted: tuple[Interval, ...]
    unwanted: tuple[Interval, ...]


BoundEventTest = (
    BoundUserOccurrence
    | BoundRecency
    | BoundEdgeValue
    | BoundNth
    | BoundMostly
    | BoundShare
    | BoundRegularly
    | BoundPhases
)


def read_by(node: BoundEventTest) -> tuple[Interval, ...]:
    """The intervals whose events a predicate reads."""
    match node:
        case BoundUserOccurrence(until_ms=until_ms):
            return (Interval(TIME_MIN_MS, until_ms),)
        case BoundRecency(interval=interval, at_ms=at_ms):
            return (Interval(at_ms, interval.last_ms),)
        case BoundRegularly(starts_ms=starts_ms):
            return (Interval(starts_ms[0], starts_ms[-1] - 1),)
        case BoundPhases(wanted=wanted, unwanted=unwanted):
            return (*wanted, *unwanted)
    return (node.interval,)
