"""Segments: predicates over users, and their combinations."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cdp_query.tree.conditions import Condition, Duration, Op
from cdp_query.tree.event_tests import EventTest, TimeFilter
from cdp_query.tree.events import Events
from cdp_query.tree.measures import ExpressionTest
from cdp_query.tree.profiles import BucketTest, DistanceTest, HistoryTest
from cdp_query.tree.window_forms import ALWAYS, Window

__all__ = [
    "PLAIN_RULES",
    "Aggregate",
    "AggregateTest",
    "All",
    "Any",
    "AttemptRules",
    "AttributeTest",
    "CountTest",
    "Did",
    "Everyone",
    "Exclusion",
    "InSegment",
    "Leaf",
    "Node",
    "Not",
    "Occurrence",
    "OccurrenceTest",
    "PropertyTest",
    "SequenceTest",
    "StepOrder",
]


@dataclass(frozen=True, slots=True)
class All:
    """Every item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item does not hold: its complement in the population."""

    item: Node


@dataclass(frozen=True, slots=True)
class Everyone:
    """The whole population."""


@dataclass(frozen=True, slots=True)
class AttributeTest:
    """A condition on the profile's attribute at T."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class PropertyTest:
    """A condition on a property of the current event; only inside event filters."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Did:
    """At least one such event in the window."""

    events: Events
    window: Window = ALWAYS


class Aggregate(enum.Enum):
    """Aggregates of one property over a user's events."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"


@dataclass(frozen=True, slots=True)
class CountTest:
    """Number of such events in the window against a number."""

    events: Events
    window: Window
    op: Op
    value: int | float
    exclude_zero: bool = False


@dataclass(frozen=True, slots=True)
class AggregateTest:
    """An aggregate of a numeric property against a number."""

    aggregate: Aggregate
    property: str
    events: Events
    window: Window
    op: Op
    value: int | float


class Occurrence(enum.Enum):
    """Occurrence of an event that must lie in the window: the user's first or last ever, up to T."""

    FIRST = "first_time"
    LAST = "last_time"


@dataclass(frozen=True, slots=True)
class OccurrenceTest:
    """The user's first (last) such event ever lies in the window."""

    occurrence: Occurrence
    events: Events
    window: Window


class StepOrder(enum.Enum):
    """Order of steps: with anything between them (ordered), with no other step between them (strict), or any order."""

    ORDERED = "ordered"
    STRICT = "strict"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Events that end attempts between step `gap` and the next, counted from 0."""

    gap: int
    events: Events


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """Rules for an attempt in addition to its steps; the default has none."""

    within_each: Duration | None = None
    order: StepOrder = StepOrder.ORDERED
    hold: str | None = None
    without: tuple[Exclusion, ...] = ()


PLAIN_RULES = AttemptRules()


@dataclass(frozen=True, slots=True)
class SequenceTest:
    """The steps were done in order by different events (semantics.md, section 4)."""

    steps: tuple[Events, ...]
    window: Window = ALWAYS
    within: Duration | None = None
    strict_ties: bool = False
    rules: AttemptRules = PLAIN_RULES


@dataclass(frozen=True, slots=True)
class InSegment:
    """Members of a named segment, of its newest version unless one is given; written out before anything is bound."""

    name: str
    version: int | None = None


Leaf = (
    Everyone
    | AttributeTest
    | PropertyTest
    | Did
    | CountTest
    | AggregateTest
    | OccurrenceTest
    | ExpressionTest
    | EventTest
    | TimeFilter
    | SequenceTest
    | DistanceTest
    | BucketTest
    | HistoryTest
    | InSegment
)
Node = All | Any | Not | Leaf
