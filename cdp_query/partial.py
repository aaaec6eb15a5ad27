"""Parts of an answer, one from each partition. Merging is associative and commutative; Partial() is neutral."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

from cdp_query.bind.names import NO_NAMES, Names
from cdp_query.limits import BREAKDOWN_VALUES_MAX
from cdp_query.reports.parts import ReportPart, keep_smallest, merge_parts
from cdp_query.reports.value_keys import ValueKey
from cdp_query.stats import NodeStats, merge_stats


@dataclass(frozen=True, slots=True)
class Partial:
    """Counts of one or several partitions.

    population: |U|; count: members; steps: users at least that deep in a funnel; values: members by attribute value;
    known: names of the question these partitions know; stats: by node; report: the part of a report, if any; rest:
    members with values beyond those that a breakdown keeps.
    """

    population: int = 0
    count: int = 0
    steps: tuple[int, ...] = ()
    values: Mapping[ValueKey, int] = field(default_factory=dict)
    known: Names = NO_NAMES
    stats: Mapping[int, NodeStats] = field(default_factory=dict)
    report: ReportPart | None = None
    rest: int = 0


def merge(first: Partial, second: Partial) -> Partial:
    """The contribution of both."""
    longer, shorter = sorted((first.steps, second.steps), key=len, reverse=True)
    padded = shorter + (0,) * (len(longer) - len(shorter))
    values, beyond = dict[ValueKey, int](), 0
    if first.values or second.values:
        values, beyond = capped(Counter(first.values) + Counter(second.values))
    return Partial(
        first.population + second.population,
        first.count + second.count,
        tuple(a + b for a, b in zip(longer, padded, strict=True)),
        values,
        first.known.merge(second.known),
        merge_stats(first.stats, second.stats),
        merge_parts(first.report, second.report),
        first.rest + second.rest + beyond,
    )


def capped(values: Mapping[ValueKey, int]) -> tuple[dict[ValueKey, int], int]:
    """(the values that a breakdown keeps, members with others)."""
    kept, beyond = keep_smallest(values, BREAKDOWN_VALUES_MAX)
    return kept, sum(beyond)


def merge_all(partials: Iterable[Partial]) -> Partial:
    """The contribution of all."""
    given = iter(partials)
    return reduce(merge, given, next(given, Partial()))
