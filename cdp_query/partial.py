"""What one partition contributes to an answer. Merging is associative and commutative; Partial() is neutral."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

from cdp_query.bind import NO_NAMES, Names
from cdp_query.reports.parts import ReportPart, merge_parts
from cdp_query.stats import NodeStats, merge_stats
from cdp_query.value_keys import ValueKey


@dataclass(frozen=True, slots=True)
class Partial:
    """Counts of one or several partitions.

    population: |U|; count: members; steps: users at least that deep in a funnel; values: members by attribute value;
    known: names of the question these partitions know; stats: by node; report: what a report adds to these.
    """

    population: int = 0
    count: int = 0
    steps: tuple[int, ...] = ()
    values: Mapping[ValueKey, int] = field(default_factory=dict)
    known: Names = NO_NAMES
    stats: Mapping[int, NodeStats] = field(default_factory=dict)
    report: ReportPart | None = None


def merge(first: Partial, second: Partial) -> Partial:
    """The contribution of both."""
    longer, shorter = sorted((first.steps, second.steps), key=len, reverse=True)
    padded = shorter + (0,) * (len(longer) - len(shorter))
    return Partial(
        first.population + second.population,
        first.count + second.count,
        tuple(a + b for a, b in zip(longer, padded, strict=True)),
        dict(Counter(first.values) + Counter(second.values)),
        first.known.merge(second.known),
        merge_stats(first.stats, second.stats),
        merge_parts(first.report, second.report),
    )


def merge_all(partials: Iterable[Partial]) -> Partial:
    """The contribution of all."""
    return reduce(merge, partials, Partial())
