"""Parts of a report, one from each partition. Merging is associative and commutative; None is neutral."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

import numpy as np

from cdp_query.limits import GROUPS_MAX
from cdp_query.reports.flow_part import FlowPart
from cdp_query.reports.value_keys import ValueKey
from cdp_query.scan.exact_total import ExactTotal
from cdp_query.scan.multiset import EMPTY, Multiset
from cdp_store.arrays import F64, I64

Key = TypeVar("Key")
Cell = TypeVar("Cell")


@dataclass(frozen=True, slots=True)
class TrendCell:
    """One period: events, users who did at least one, and the total of the property."""

    events: int
    users: int
    total: ExactTotal

    def merge(self, other: TrendCell) -> TrendCell:
        """The period in both."""
        return TrendCell(self.events + other.events, self.users + other.users, self.total.merge(other.total))


@dataclass(frozen=True, slots=True)
class TrendPart:
    """Periods that hold any event, by their start in epoch ms."""

    cells: Mapping[int, TrendCell]

    def merge(self, other: TrendPart) -> TrendPart:
        """The periods of both."""
        return TrendPart(merge_by_key(self.cells, other.cells, TrendCell.merge))


@dataclass(frozen=True, slots=True)
class RetentionCohort:
    """Users who entered in one period, the number who returned in each period, and the time of the last entry."""

    users: int
    returned: tuple[int, ...]
    latest_entry_ms: int

    def merge(self, other: RetentionCohort) -> RetentionCohort:
        """The cohort in both."""
        return RetentionCohort(
            self.users + other.users,
            tuple(a + b for a, b in zip(self.returned, other.returned, strict=True)),
            max(self.latest_entry_ms, other.latest_entry_ms),
        )


@dataclass(frozen=True, slots=True)
class RetentionPart:
    """Cohorts that have any user, by the start of their period in epoch ms."""

    cohorts: Mapping[int, RetentionCohort]

    def merge(self, other: RetentionPart) -> RetentionPart:
        """The cohorts of both."""
        return RetentionPart(merge_by_key(self.cohorts, other.cohorts, RetentionCohort.merge))


@dataclass(frozen=True, slots=True)
class FunnelGroup:
    """Attempts at least so deep by step, and the ms that the converted ones took (nothing where not asked for)."""

    steps: tuple[int, ...]
    times: Multiset = EMPTY

    def merge(self, other: FunnelGroup) -> FunnelGroup:
        """The attempts of both."""
        steps = tuple(a + b for a, b in zip(self.steps, other.steps, strict=True))
        return FunnelGroup(steps, self.times.merge(other.times))


@dataclass(frozen=True, slots=True)
class FunnelPart:
    """All attempts, those of each group, those of groups beyond GROUPS_MAX together, and the number open at T."""

    whole: FunnelGroup
    incomplete: int
    groups: Mapping[ValueKey, FunnelGroup] = field(default_factory=dict)
    rest: FunnelGroup | None = None

    def merge(self, other: FunnelPart) -> FunnelPart:
        """The attempts of both. A group kept here and summed up there is summed up: it is beyond the cap in both."""
        groups, beyond = keep_smallest(merge_by_key(self.groups, other.groups, FunnelGroup.merge))
        rests = [part.rest for part in (self, other) if part.rest is not None] + beyond
        return FunnelPart(
            self.whole.merge(other.whole),
            self.incomplete + other.incomplete,
            groups,
            reduce(FunnelGroup.merge, rests) if rests else None,
        )


@dataclass(frozen=True, slots=True)
class OverlapPart:
    """Users by combination of segments: counts[c] are in exactly the segments whose bits c has."""

    counts: tuple[int, ...]

    def merge(self, other: OverlapPart) -> OverlapPart:
        """The users of both."""
        return OverlapPart(tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))


@dataclass(frozen=True, slots=True)
class DiffPart:
    """Users who entered, left and stayed."""

    entered: int
    left: int
    stayed: int

    def merge(self, other: DiffPart) -> DiffPart:
        """The users of both."""
        return DiffPart(self.entered + other.entered, self.left + other.left, self.stayed + other.stayed)


@dataclass(frozen=True, slots=True)
class DistributionPart:
    """The numbers of the members, and the count of members without one."""

    numbers: Multiset
    undefined: int

    def merge(self, other: DistributionPart) -> DistributionPart:
        """The members of both."""
        return DistributionPart(self.numbers.merge(other.numbers), self.undefined + other.undefined)


@dataclass(frozen=True, slots=True, eq=False)
class RfmPart:
    """One entry a member, sorted: time of the last event and number of events i64[n], money f64[n] in two parts.

    All members travel, 32 bytes each, because a score needs all others and the grid needs the scores together: so one
    pass over one view of each partition is enough.
    """

    last_ms: I64
    events: I64
    money: F64
    money_low: F64

    @staticmethod
    def of(last_ms: I64, events: I64, money: F64, money_low: F64) -> RfmPart:
        """The part of members in any order."""
        order = np.lexsort((money_low, money, events, last_ms))
        return RfmPart(last_ms[order], events[order], money[order], money_low[order])

    def merge(self, other: RfmPart) -> RfmPart:
        """The members of both."""
        return RfmPart.of(*(np.concatenate(pair) for pair in zip(self.arrays(), other.arrays(), strict=True)))

    def arrays(self) -> tuple[I64, I64, F64, F64]:
        """The four arrays."""
        return self.last_ms, self.events, self.money, self.money_low

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RfmPart) and all(map(np.array_equal, self.arrays(), other.arrays()))

    def __hash__(self) -> int:
        return hash(tuple(array.tobytes() for array in self.arrays()))


ReportPart = TrendPart | RetentionPart | FunnelPart | OverlapPart | DiffPart | DistributionPart | RfmPart | FlowPart


def keep_smallest(groups: Mapping[ValueKey, Cell], most: int = GROUPS_MAX) -> tuple[dict[ValueKey, Cell], list[Cell]]:
    """(the groups with the `most` smallest values, all other groups).

    The choice does not depend on the numbers of users, so that every kept group is exact for any order of merges.
    """
    keys = sorted(groups) if len(groups) > most else list(groups)
    return {key: groups[key] for key in keys[:most]}, [groups[key] for key in keys[most:]]


def merge_by_key(
    first: Mapping[Key, Cell], second: Mapping[Key, Cell], merge: Callable[[Cell, Cell], Cell]
) -> dict[Key, Cell]:
    """Cells of both; those under the same key merged."""
    merged = dict(first)
    for key, cell in second.items():
        merged[key] = merge(merged[key], cell) if key in merged else cell
    return merged


def merge_parts(first: ReportPart | None, second: ReportPart | None) -> ReportPart | None:
    """The contribution of both to one report."""
    match first, second:
        case None, _:
            return second
        case _, None:
            return first
        case TrendPart(), TrendPart():
            return first.merge(second)
        case RetentionPart(), RetentionPart():
            return first.merge(second)
        case FunnelPart(), FunnelPart():
            return first.merge(second)
        case OverlapPart(), OverlapPart():
            return first.merge(second)
        case DiffPart(), DiffPart():
            return first.merge(second)
        case DistributionPart(), DistributionPart():
            return first.merge(second)
        case RfmPart(), RfmPart():
            return first.merge(second)
        case FlowPart(), FlowPart():
            return first.merge(second)
    raise TypeError(f"{type(first).__name__} and {type(second).__name__} belong to different reports")
