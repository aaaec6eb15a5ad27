"""Bound events: name ids of one partition and compiled filters."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.bound_profiles import FilterDistance
from cdp_query.matcher import Matcher


@dataclass(frozen=True, slots=True)
class BoundProperty:
    """A matcher on a property of the event at hand."""

    property: int | None
    matcher: Matcher


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


BoundFilter = BoundProperty | FilterAll | FilterAny | FilterNot | FilterDistance


@dataclass(frozen=True, slots=True)
class BoundEvents:
    """Events of these name ids that pass the filter."""

    names: tuple[int, ...]
    where: BoundFilter | None
