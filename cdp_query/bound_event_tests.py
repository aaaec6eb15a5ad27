"""Bound predicates over events beyond counts and aggregates."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.bound_events import BoundEvents, FilterUserWindow
from cdp_query.tree import Occurrence, Op
from cdp_query.windows import Interval


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


BoundEventTest = BoundUserOccurrence | BoundRecency
