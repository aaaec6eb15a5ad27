"""Parts of a report, one from each partition. Merging is associative and commutative; None is neutral."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Protocol, Self, TypeVar

from cdp_query.limits import GROUPS_MAX
from cdp_query.reports.value_keys import ValueKey

Key = TypeVar("Key")
Cell = TypeVar("Cell")


class ReportPart(Protocol):
    """The contribution of one partition or of several."""

    def merge(self, other: Self, /) -> Self:
        """The contribution of both."""


class Added:
    """A dataclass that is merged field by field: numbers are added, mappings merged key by key."""

    __slots__ = ()

    def merge(self, other: Self, /) -> Self:
        """The contribution of both."""
        kind: Any = type(self)
        made: Self = kind(*[_sum(getattr(self, name), getattr(other, name)) for name in _fields_of(kind)])
        return made


@cache
def _fields_of(part: Any) -> tuple[str, ...]:
    """Names of a dataclass's fields: a report merges thousands of cells of one class."""
    return tuple(each.name for each in fields(part))


@dataclass(frozen=True, slots=True)
class Counts(Added):
    """Numbers that are added place by place."""

    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CountsPart(Added):
    """Counts by a key, such as a day since 1970-01-01: the part of a report that needs no other one."""

    cells: Mapping[int, Counts]


def _sum(first: Any, second: Any) -> Any:
    match first:
        case int():
            return first + second
        case tuple():
            return tuple(a + b for a, b in zip(first, second, strict=True))
        case Mapping():
            return merge_by_key(first, second, _sum)
    return first.merge(second)


def keep_smallest(groups: Mapping[ValueKey, Cell], most: int = GROUPS_MAX) -> tuple[dict[ValueKey, Cell], list[Cell]]:
    """(the groups with the `most` smallest values, all other groups).

    The choice does not depend on numbers of users, so every kept group is exact for any order of merges.
    """
    keys = sorted(groups) if len(groups) > most else list(groups)
    return {key: groups[key] for key in keys[:most]}, [groups[key] for key in keys[most:]]


def merge_by_key(
    first: Mapping[Key, Cell], second: Mapping[Key, Cell], merge: Callable[[Cell, Cell], Cell]
) -> dict[Key, Cell]:
    """Cells of both; those with the same key are merged."""
    merged = dict(first)
    for key, cell in second.items():
        merged[key] = merge(merged[key], cell) if key in merged else cell
    return merged


def merge_parts(first: ReportPart | None, second: ReportPart | None) -> ReportPart | None:
    """The contribution of both to one report."""
    if first is None or second is None:
        return second if first is None else first
    if type(first) is not type(second):
        raise TypeError(f"{type(first).__name__} and {type(second).__name__} belong to different reports")
    return first.merge(second)
