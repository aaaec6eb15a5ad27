"""Bound predicates over the number of events, their aggregates, and the time of the first or last one."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.matching.ranges import Range
from cdp_query.tree import Aggregate, Occurrence


@dataclass(frozen=True, slots=True)
class BoundCount:
    """The number of events in the interval lies in `wanted` (or, negated, does not); zero may be left out."""

    id: int
    events: BoundEvents
    interval: Interval
    wanted: Range
    negated: bool
    exclude_zero: bool


@dataclass(frozen=True, slots=True)
class BoundAggregate:
    """An aggregate of a property's numbers lies in `wanted` (or, negated, is defined and does not)."""

    id: int
    aggregate: Aggregate
    property: int | None
    events: BoundEvents
    interval: Interval
    wanted: Range
    negated: bool


@dataclass(frozen=True, slots=True)
class BoundOccurrence:
    """The first or last event up to `until_ms` lies in the interval."""

    id: int
    occurrence: Occurrence
    events: BoundEvents
    interval: Interval
    until_ms: int
