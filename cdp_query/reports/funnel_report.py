"""Funnels: attempts counted by the step they reached, by group, with their durations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bound import BoundSequence
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_counts import BoundCount
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.ordered import can_follow, write_funnel
from cdp_query.compiled.report_run import ReportRun
from cdp_query.evaluate.event_counts import did_mask
from cdp_query.evaluate.needs import check_needs
from cdp_query.evaluate.ruled_attempts import NEVER, Attempts, find_attempts
from cdp_query.evaluate.sequences import sequence_depth
from cdp_query.matching.ranges import range_of
from cdp_query.reports.breakdown import keys_of
from cdp_query.reports.parts import Added, keep_smallest, merge_by_key
from cdp_query.reports.report_kind import Finished, ReportKind, Run, in_each
from cdp_query.reports.value_keys import NONE_KEY, ValueKey
from cdp_query.scan.attribute_scan import spans
from cdp_query.scan.held_values import kinds_and_raws
from cdp_query.scan.multiset import EMPTY, Multiset
from cdp_query.tree import AttemptMode, Op
from cdp_store.arrays import I64, U8
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_NEVER: Final = Interval(1, 0)
_TOLD: Final = {
    "median": 50, "p10": 10, "p25": 25, "p75": 75, "p90": 90, "p95": 95, "shortest": 0, "longest": 100,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FunnelGroup(Added):
    """Attempts that reached each step, and the ms that converted ones took (empty unless requested)."""

    steps: tuple[int, ...]
    times: Multiset = EMPTY


@dataclass(frozen=True, slots=True)
class FunnelPart:
    """All attempts, those of each group, those of groups beyond GROUPS_MAX together, and the number open at T."""

    whole: FunnelGroup
    incomplete: int
    groups: Mapping[ValueKey, FunnelGroup] = field(default_factory=dict)
    rest: FunnelGroup | None = None

    def merge(self, other: FunnelPart) -> FunnelPart:
        """The attempts of both.

        A group that only one side keeps is summed up: it is beyond the limit in both.
        """
        groups, beyond = keep_smallest(merge_by_key(self.groups, other.groups, FunnelGroup.merge))
        rests = [part.rest for part in (self, other) if part.rest is not None] + beyond
        return FunnelPart(
            self.whole.merge(other.whole),
            self.incomplete + other.incomplete,
            groups,
            reduce(FunnelGroup.merge, rests) if rests else None,
        )


@dataclass(frozen=True, slots=True)
class _Bound:
    """A funnel with names resolved; `key` is that of its groups, None if the name was never seen."""

    asked: tree.Funnel
    attempts: BoundAttempts
    key: int | None


def _funnel(report: tree.Funnel, run: Run) -> tuple[int, FunnelPart]:
    view, names = run.view, run.view.schema
    is_attribute = report.by_attribute is not None
    name, known = (report.by_attribute, names.attributes) if is_attribute else (report.by_entry, names.properties)
    node = run.binder.attempts(report, names, 0)
    check_needs(node, view)
    bound = _Bound(report, node, None if name is None else known.get(name))
    found = find_attempts(view, node, report.mode, run.stats).of_rows(run.population)
    every: I64 = np.arange(found.rows.shape[0], dtype=np.int64)
    groups, beyond = dict[ValueKey, I64](), list[I64]()
    if name is not None:
        groups, beyond = keep_smallest(_members_by_key(view, bound, found))
    is_open = np.zeros(found.rows.shape[0], np.bool_)
    if (longest_ms := node.longest_ms()) >= 0:
        entries = found.latest_ms if report.mode is AttemptMode.DEEPEST else found.entry_ms
        is_open = (found.depth < len(node.steps)) & (entries > node.until_ms - longest_ms)
    whole = _group(bound, found, every)
    return whole.steps[-1], FunnelPart(
        whole,
        int(np.count_nonzero(is_open)),
        {key: _group(bound, found, members) for key, members in groups.items()},
        _group(bound, found, np.concatenate(beyond)) if beyond else None,
    )


def _plain_funnel(report: tree.Funnel, run: Run) -> tuple[int, FunnelPart]:
    """The part of one partition if a funnel has only steps and limits, and steps share an event name."""
    view, population, stats = run.view, run.population, run.stats
    node = run.binder.bind_sequence(report, view.schema)
    check_needs(node, view)
    depth = sequence_depth(view, node, stats)
    reached = depth[population]
    steps = tuple(int(np.count_nonzero(reached >= step)) for step in range(1, len(node.steps) + 1))
    incomplete, recent = 0, _recent(node)
    if recent.first_ms <= recent.last_ms:
        entered = did_mask(view, BoundCount(node.id, node.steps[0], recent, range_of(Op.GE, 1), False, False), stats)
        incomplete = int(np.count_nonzero(entered & population & (depth < len(node.steps))))
    return steps[-1], FunnelPart(FunnelGroup(steps), incomplete)


def _group(report: _Bound, found: Attempts, members: I64) -> FunnelGroup:
    depth = found.depth[members]
    length = len(report.attempts.steps)
    at_depth = np.bincount(depth, minlength=length + 1)[1:]
    steps = tuple(np.cumsum(at_depth[::-1])[::-1].tolist())
    if not report.asked.times:
        return FunnelGroup(steps, EMPTY)
    converted = members[depth == length]
    assert not (found.end_ms[converted] == NEVER).any()
    return FunnelGroup(steps, Multiset.of_integers(found.end_ms[converted] - found.entry_ms[converted]))


def _members_by_key(view: PartitionView, report: _Bound, found: Attempts) -> Mapping[ValueKey, I64]:
    """Places of the attempts under each value; one with a list is under each different item."""
    is_attribute = report.asked.by_attribute is not None
    kinds, raws = _attribute_values(view, report, found) if is_attribute else _entry_values(report, found)
    order = np.lexsort((raws, kinds))
    kinds, raws = kinds[order], raws[order]
    starts = np.flatnonzero(np.append(True, (kinds[1:] != kinds[:-1]) | (raws[1:] != raws[:-1])))[: order.shape[0]]
    members = np.split(order, starts[1:]) if order.size else []
    parts = dict[ValueKey, list[I64]]()
    for kind in np.unique(kinds):
        chosen = np.flatnonzero(kinds[starts] == kind)
        keys = keys_of(view, report.key or 0, Kind(int(kind)), raws[starts[chosen]], attribute=is_attribute)
        for place, own in zip(chosen.tolist(), keys, strict=True):
            for key in own:
                parts.setdefault(key, []).append(members[place])
    return {key: np.concatenate(several) for key, several in parts.items()}


def _attribute_values(view: PartitionView, report: _Bound, found: Attempts) -> tuple[U8, I64]:
    kinds: U8 = np.zeros(view.row_count, np.uint8)
    raws: I64 = np.zeros(view.row_count, np.int64)
    for span in spans(view, report.key, report.attempts.until_ms):
        rows = slice(span.first_row, span.first_row + span.kinds.shape[0])
        kinds[rows] = span.kinds
        for kind, values in span.values.items():
            held = np.flatnonzero(span.kinds[: values.shape[0]] == kind)
            wide = values[held].astype(np.float64).view(np.int64) if kind is Kind.FLOAT else values[held]
            raws[span.first_row + held] = wide
    return kinds[found.rows], raws[found.rows]


def _entry_values(report: _Bound, found: Attempts) -> tuple[U8, I64]:
    kinds: U8 = np.zeros(found.rows.shape[0], np.uint8)
    raws: I64 = np.zeros(found.rows.shape[0], np.int64)
    starts = np.cumsum([0, *(source.positions.shape[0] for source in found.sources)])
    source_of = np.searchsorted(starts, found.entries, "right") - 1
    for number, source in enumerate(found.sources):
        own = np.flatnonzero(source_of == number)
        if own.size:
            positions = source.positions[found.entries[own] - starts[number]]
            kinds[own], raws[own] = kinds_and_raws(source.chunk, positions, report.key)
    return kinds, raws


@dataclass(frozen=True, slots=True)
class ConversionTimes:
    """Durations of the converted attempts, in ms; interpolated linearly between two values."""

    converted: int
    median: float
    p10: float
    p25: float
    p75: float
    p90: float
    p95: float
    shortest: float
    longest: float
    mean: float


@dataclass(frozen=True, slots=True)
class FunnelGroupRow:
    """One group: attempts that reached each step."""

    value: ValueKey
    steps: tuple[int, ...]
    times: ConversionTimes | None


@dataclass(frozen=True, slots=True)
class FunnelReport:
    """The answer of a funnel apart from its steps: groups with most entries first, those beyond GROUPS_MAX together."""

    mode: str
    incomplete: int
    times: ConversionTimes | None
    groups: tuple[FunnelGroupRow, ...]
    rest: FunnelGroupRow | None


def _times(times: Multiset) -> ConversionTimes | None:
    if not len(times):
        return None
    quantiles = {name: float(times.quantile(Fraction(share, 100))) for name, share in _TOLD.items()}
    return ConversionTimes(converted=len(times), mean=float(times.total() / len(times)), **quantiles)


def _row(group: FunnelGroup, key: ValueKey = NONE_KEY) -> FunnelGroupRow:
    return FunnelGroupRow(key, group.steps, _times(group.times))


def _evaluate(report: tree.Funnel, run: ReportRun) -> tuple[int, FunnelPart]:
    """(users that completed all steps, their attempts); the plain form takes the path of plain sequences."""
    if not _is_plain(report):
        return in_each(_funnel)(report, run)
    node = run.binder.bind_sequence(report, run.names)
    if not can_follow(node.steps):
        return in_each(_plain_funnel)(report, run)
    program, length = run.program(), len(node.steps)
    output: I64 = np.zeros(length + 2, np.int64)
    run.run(program, [write_funnel(program, node, _recent(node))], output)
    steps = tuple(np.cumsum(output[length:0:-1])[::-1].tolist())
    return steps[-1], FunnelPart(FunnelGroup(steps), int(output[-1]))


def _recent(node: BoundSequence) -> Interval:
    """Interval of the entries that have time left to go on."""
    first_ms = max(node.interval.first_ms, node.until_ms - node.within_ms + 1)
    return Interval(first_ms, node.interval.last_ms) if node.within_ms >= 0 else _NEVER


def _is_plain(report: tree.Funnel) -> bool:
    own_window = isinstance(report.window, tree.WithinFirst | tree.Since)
    return not own_window and report == tree.Funnel(report.steps, report.window, report.within, report.strict_ties)


def _finish(report: tree.Funnel, part: FunnelPart, _: tree.Context) -> Finished:
    by_entries = sorted(part.groups.items(), key=lambda item: (-item[1].steps[0], item[0] == NONE_KEY, str(item[0][1])))
    answer = FunnelReport(
        report.mode.value,
        part.incomplete,
        _times(part.whole.times),
        tuple(_row(group, key) for key, group in by_entries),
        None if part.rest is None else _row(part.rest),
    )
    return Finished(answer, part.incomplete > 0)


FUNNEL: Final = ReportKind(
    FunnelPart,
    FunnelReport,
    lambda report, binder: binder.check(report),
    _evaluate,
    _finish,
    warm_up=(
        'funnel("A" -> without "B" -> "A", hold: flag, mode: totals, times: on, by: plan, within: 9d)',
        'funnel("A" -> "B", order: any, within: 9d, by_entry: text)',
    ),
)
