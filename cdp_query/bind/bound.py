"""The bound tree: names replaced by ids of one partition, windows by intervals, conditions by matchers.

A name that the partition has never seen has no id; the node then reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cdp_query.bind.bind_event_tests import BoundEventTest
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_counts import BoundAggregate, BoundCount, BoundOccurrence
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.bind.bound_measures import BoundExpressionTest
from cdp_query.bind.bound_profiles import BoundProfile
from cdp_query.calendar.windows import Interval
from cdp_query.matching.matcher import Matcher
from cdp_store.arrays import Bools


@dataclass(frozen=True, slots=True)
class BoundAll:
    """Every item holds."""

    id: int
    items: tuple[BoundNode, ...]


@dataclass(frozen=True, slots=True)
class BoundAny:
    """At least one item holds."""

    id: int
    items: tuple[BoundNode, ...]


@dataclass(frozen=True, slots=True)
class BoundNot:
    """The item does not hold."""

    id: int
    item: BoundNode


@dataclass(frozen=True, slots=True)
class BoundEveryone:
    """All rows."""

    id: int


@dataclass(frozen=True, slots=True, eq=False)
class BoundGiven:
    """Rows that are known already: bool[row_count]."""

    id: int
    mask: Bools


@dataclass(frozen=True, slots=True)
class BoundAttribute:
    """A matcher on an attribute at the context's instant."""

    id: int
    attribute: int | None
    matcher: Matcher


@dataclass(frozen=True, slots=True)
class BoundSequence:
    """Steps in order; the first within the interval, all up to `until_ms`; within_ms < 0 is no limit."""

    id: int
    steps: tuple[BoundEvents, ...]
    interval: Interval
    until_ms: int
    within_ms: int
    strict_ties: bool


BoundLeaf = (
    BoundEveryone
    | BoundGiven
    | BoundAttribute
    | BoundCount
    | BoundAggregate
    | BoundOccurrence
    | BoundExpressionTest
    | BoundEventTest
    | BoundSequence
    | BoundAttempts
    | BoundProfile
)
BoundNode = BoundAll | BoundAny | BoundNot | BoundLeaf


def parts_of(node: BoundNode) -> Iterator[BoundNode]:
    """A node and all below it, in written order."""
    yield node
    match node:
        case BoundAll(items=items) | BoundAny(items=items):
            for item in items:
                yield from parts_of(item)
        case BoundNot(item=item):
            yield from parts_of(item)
