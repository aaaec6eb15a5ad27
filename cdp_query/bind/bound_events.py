"""Bound events: name ids of one partition and compiled filters."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdp_query.bind.bound_profiles import FilterDistance
from cdp_query.matching.decided import Decided
from cdp_query.matching.matcher import Matcher
from cdp_store.arrays import I64
from cdp_store.values import Kind


@dataclass(frozen=True, slots=True)
class BoundProperty:
    """A matcher on a property of the current event; `decided` keeps the strings and lists that satisfy it, by kind."""

    property: int | None
    matcher: Matcher
    decided: dict[Kind, Decided] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class FilterAll:
    """Every filter passes."""

    items: tuple[BoundFilter, ...]


@dataclass(frozen=True, slots=True)
class FilterAny:
    """At least one filter passes."""

    items: tuple[BoundFilter, ...]


@dataclass(frozen=True, slots=True)
class FilterNot:
    """The filter does not pass."""

    item: BoundFilter


@dataclass(frozen=True, slots=True)
class FilterUserWindow:
    """The event lies at most length_ms after the user's own start: its first event of `first_of`, or a time attribute.

    It ends at until_ms at the latest, and is computed per row before events are scanned.
    """

    first_of: BoundEvents | None
    attribute: int | None
    length_ms: int
    until_ms: int
    tz: str = "UTC"  # of dates and times in texts


@dataclass(frozen=True, slots=True)
class FilterRowWindow:
    """The event lies between the two instants of its row: i64[row_count] each, epoch ms, both included."""

    first_ms: I64
    last_ms: I64


@dataclass(frozen=True, slots=True)
class FilterHours:
    """The hour on the clocks of the zone is one of these."""

    hours: frozenset[int]
    tz: str


@dataclass(frozen=True, slots=True)
class FilterWeekdays:
    """The local day of the week is one of these, Monday being 1."""

    days: frozenset[int]
    tz: str


BoundFilter = (
    BoundProperty
    | FilterAll
    | FilterAny
    | FilterNot
    | FilterDistance
    | FilterUserWindow
    | FilterRowWindow
    | FilterHours
    | FilterWeekdays
)


@dataclass(frozen=True, slots=True)
class BoundEvents:
    """Events of these name ids that pass the filter."""

    names: tuple[int, ...]
    where: BoundFilter | None


def conjuncts(where: BoundFilter) -> tuple[BoundFilter, ...]:
    """The filters that must all pass."""
    return where.items if isinstance(where, FilterAll) else (where,)
