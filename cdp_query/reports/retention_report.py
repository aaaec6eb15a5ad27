"""Retention: cohorts by the period of the first entry, and the periods in which their users returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.periods import Periods, check_shown, months_between, periods_over, zone_offsets
from cdp_query.calendar.windows import Interval, shown_interval
from cdp_query.compiled.kernels.retention_leaf import NEVER
from cdp_query.compiled.periodic import RETURNS_MAX, write_entries, write_returns
from cdp_query.compiled.report_run import ReportRun
from cdp_query.errors import QueryInvalid
from cdp_query.kernels import aggregate
from cdp_query.limits import PERIODS_MAX
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, ReportKind
from cdp_query.reports.shown_periods import check_unit, shown_periods
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.scan import Scanned, filter_mask, scan
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import REPORT, NodeStats
from cdp_query.tree import PeriodStart, ReturnMode
from cdp_store.arrays import I64, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import DAY_MS
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_NONE: Final[I64] = np.zeros(0, np.int64)
_ELAPSED_MS: Final = {"day": DAY_MS, "week": 7 * DAY_MS}


@dataclass(frozen=True, slots=True)
class RetentionCohort:
    """Users that entered in one period, the number that returned in each period, and the time of the last entry."""

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
class RetentionPart(Added):
    """Cohorts with any user, by the start of their period in epoch ms."""

    cohorts: Mapping[int, RetentionCohort]


@dataclass(frozen=True, slots=True)
class _Bound:
    """A retention with names and window resolved; returns count up to `until_ms`."""

    asked: tree.Retention
    entry: BoundEvents
    returns: BoundEvents
    interval: Interval
    until_ms: int
    tz: str


def _evaluate(report: tree.Retention, run: ReportRun) -> tuple[int, RetentionPart]:
    """(users that entered, the cohorts with any user).

    Python finds the returns in months from each entry, and in many periods of the calendar.
    """
    bound = _bind(report, run.binder, run.names)
    program, extremes = run.program(), np.array([NEVER, -NEVER], np.int64)
    entries: I64 = np.empty(sum(view.row_count for view in run.views), np.int64)
    users = run.run(program, [write_entries(program, bound.entry, bound.interval)], extremes, entries)
    if not users:
        return 0, RetentionPart({})
    entered = Interval(*extremes.tolist())
    check_shown(report.unit, entered.first_ms, entered.last_ms, bound.tz)  # before tables of all cohorts are built
    ends = accumulate(view.row_count for view in run.views)
    by_view = [entries[end - view.row_count : end] for view, end in zip(run.views, ends, strict=True)]
    at_once, stats, is_disjoint = list[Bools](), run.meter.node(REPORT), _is_disjoint(bound)
    is_calendar = report.start is PeriodStart.CALENDAR
    is_by_kernels = report.periods <= RETURNS_MAX if is_calendar else report.unit in _ELAPSED_MS
    for view, entry in zip(run.views, by_view, strict=True):
        if is_disjoint and not view.summaries:
            continue
        own = _bind(report, run.binder, view.schema)
        if not is_disjoint:
            at_once.append(_returned_at_once(view, own, entry, stats))
        if view.summaries and is_by_kernels:
            last_ms = _last_return_ms(own, int(entry.max(where=entry != NEVER, initial=-NEVER)), report.periods)
            note_dropped(view, own.returns, Interval(int(entry.min(initial=NEVER)), last_ms), stats)
    if is_by_kernels:
        return users, _by_kernels(run, bound, entered, entries, at_once)
    return users, _by_python(run, bound, entered, by_view, at_once)


def _by_kernels(
    run: ReportRun, bound: _Bound, entered: Interval, entries: I64, at_once: Sequence[Bools]
) -> RetentionPart:
    """The cohorts, with the returns of 64 periods at a time.

    Later ones count from later entries, and cohorts are told by a calendar that is late by as much.
    """
    asked, unit_ms = bound.asked, 0 if bound.asked.start is PeriodStart.CALENDAR else _ELAPSED_MS[bound.asked.unit]
    periods = periods_over(asked.unit, entered.first_ms, entered.last_ms if unit_ms else bound.until_ms, bound.tz)
    cohorts, cells = len(periods), list[I64]()
    output: I64 = np.zeros(0, np.int64)
    for first in reversed(range(0, asked.periods, RETURNS_MAX)):
        count, late_ms, program = min(RETURNS_MAX, asked.periods - first), first * unit_ms, run.program()
        leaf = write_returns(
            program,
            bound.returns,
            Interval(entered.first_ms + late_ms, _last_return_ms(bound, entered.last_ms, first + count)),
            replace(periods, edges_ms=periods.edges_ms + late_ms),
            unit=unit_ms,
            periods=count,
            to_the_end=int(asked.mode is ReturnMode.ON_OR_AFTER),
            with_entry=int(first > 0 or _is_disjoint(bound)),
        )
        output = np.zeros(cohorts * (2 + count), np.int64)
        output[cohorts : 2 * cohorts] = np.iinfo(np.int64).min
        starts = entries if not late_ms else np.where(entries == NEVER, NEVER, entries + late_ms)
        returned = {} if first else {(number, leaf): mask for number, mask in enumerate(at_once)}
        run.run(program, [leaf], output, starts, returned)
        cells.append(output[2 * cohorts :].reshape(cohorts, count))
    return _part(periods, output[:cohorts], np.hstack(cells[::-1]), output[cohorts : 2 * cohorts])


def _last_return_ms(bound: _Bound, last_entry_ms: int, periods: int) -> int:
    """The last instant at which a return counts for any user in so many periods."""
    asked = bound.asked
    if asked.mode is ReturnMode.ON and asked.start is PeriodStart.ROLLING and asked.unit in _ELAPSED_MS:
        return min(bound.until_ms, last_entry_ms + periods * _ELAPSED_MS[asked.unit] - 1)
    return bound.until_ms


def _is_disjoint(report: _Bound) -> bool:
    return not set(report.entry.names) & set(report.returns.names)


def _bind(report: tree.Retention, binder: Binder, schema: SchemaReading) -> _Bound:
    entry, interval = binder.windowed(report.entry, report.window, schema)
    returns = binder.events(report.returns, schema)
    return _Bound(report, entry, returns, interval, binder.context.as_of_ms, binder.context.tz)


def _by_python(
    run: ReportRun, bound: _Bound, entered: Interval, by_view: Sequence[I64], at_once: Sequence[Bools]
) -> RetentionPart:
    cohorts, count = periods_over(bound.asked.unit, entered.first_ms, entered.last_ms, bound.tz), bound.asked.periods
    between = _periods_between(bound, entered)
    users: I64 = np.zeros(len(cohorts), np.int64)
    cells: I64 = np.zeros((len(cohorts), count), np.int64)
    latest: I64 = np.full(len(cohorts), np.iinfo(np.int64).min, np.int64)
    for number, (view, entry) in enumerate(zip(run.views, by_view, strict=True)):
        run.checkpoint()
        held = np.flatnonzero(entry != NEVER)
        if not held.size:
            continue
        cohort = cohorts.index_of(entry[held])
        users += np.bincount(cohort, minlength=len(cohorts))
        np.maximum.at(latest, cohort, entry[held])
        own = _bind(bound.asked, run.binder, view.schema)
        found = [np.flatnonzero(at_once[number]) * count] if at_once else []
        found += _returns(view, own, entry, between, int(bool(at_once)), run.meter.node(REPORT))
        # Stable: the returns of a chunk are in order already.
        rows, period = np.divmod(_distinct(np.sort(np.concatenate([_NONE, *found]), kind="stable")), count)
        if own.asked.mode is ReturnMode.ON_OR_AFTER:
            is_last = np.append(rows[1:] != rows[:-1], True)[: rows.shape[0]]
            rows, period = rows[is_last], period[is_last]
        np.add.at(cells, (cohorts.index_of(entry[rows]), period), 1)
    if bound.asked.mode is ReturnMode.ON_OR_AFTER:
        cells = cells[:, ::-1].cumsum(axis=1)[:, ::-1]
    return _part(cohorts, users, cells, latest)


def _returns(
    view: PartitionView,
    bound: _Bound,
    entry: I64,
    between: Callable[[I64, I64], I64],
    delay: int,
    stats: NodeStats,
) -> Iterator[I64]:
    """row * periods + period of the returns in each chunk, `delay` ms after the entry at the earliest."""
    first_ms, count = int(entry.min()), bound.asked.periods
    for scanned in scan(view, bound.returns, Interval(first_ms, bound.until_ms), stats):
        stats.bytes += scanned.chunk.times.nbytes
        rows, at = scanned.rows(), scanned.times()
        starts = entry[rows]
        chosen = np.flatnonzero(at >= starts + delay)
        given = between(starts[chosen], at[chosen])
        if bound.asked.mode is ReturnMode.ON_OR_AFTER:
            given = np.minimum(given, count - 1)
        inside = given < count
        yield _distinct(rows[chosen][inside].astype(np.int64) * count + given[inside])


def _distinct(ascending: I64) -> I64:
    is_first: Bools = np.ones(ascending.shape[0], np.bool_)
    is_first[1:] = ascending[1:] != ascending[:-1]
    kept: I64 = ascending[is_first]
    return kept


def _periods_between(bound: _Bound, entered: Interval) -> Callable[[I64, I64], I64]:
    """Function that returns the number of periods from each entry to a return."""
    if bound.asked.start is PeriodStart.CALENDAR:
        calendar = periods_over(bound.asked.unit, entered.first_ms, bound.until_ms, bound.tz)
        return lambda entries, returns: calendar.index_of(returns) - calendar.index_of(entries)
    offsets = zone_offsets(bound.tz, entered.first_ms, bound.until_ms)
    return lambda entries, returns: months_between(entries, returns, offsets)


def _returned_at_once(view: PartitionView, report: _Bound, entry: I64, stats: NodeStats) -> Bools:
    """Rows with a return at the instant of the entry that is another event: bool[rows].

    Of the events at that instant some match only the entry, some only the return, some both. There is a return if one
    event matches only the return, or if one of at least two events matches both.
    """
    entries = anchored(report.entry, view, stats)
    only_entry, only_return, both = (np.zeros(entry.shape[0], np.uint32) for _ in range(3))
    names = dict.fromkeys((*report.entry.names, *report.returns.names))
    for name, chunk in ((own, chunk) for own in names for chunk in view.event_chunks(own)):
        at_entry = chunk.full_times() == entry[chunk.full_rows()]
        if at_entry.any():
            enters = at_entry & _matches(view, entries, name, chunk, stats)
            returns = at_entry & _matches(view, report.returns, name, chunk, stats)
            for mask, counts in (
                (enters & ~returns, only_entry), (returns & ~enters, only_return), (enters & returns, both)
            ):  # fmt: skip
                _count_rows(chunk, mask, counts)
    returned: Bools = (only_return > 0) | (both > 1) | ((both == 1) & (only_entry > 0))
    return returned


def _matches(view: PartitionView, events: BoundEvents, name: int, chunk: EventChunk, stats: NodeStats) -> Bools:
    if name not in events.names:
        return np.zeros(len(chunk), np.bool_)
    return np.ones(len(chunk), np.bool_) if events.where is None else filter_mask(view, chunk, events.where, stats)


def _count_rows(chunk: EventChunk, mask: Bools, counts: U32) -> None:
    aggregate.count_rows(Scanned(chunk, mask).rows(), counts)


def _part(cohorts: Periods, users: I64, cells: I64, latest: I64) -> RetentionPart:
    held = np.flatnonzero(users)
    columns = (cohorts.edges_ms[held], users[held], cells[held], latest[held])
    found = zip(*(column.tolist() for column in columns), strict=True)
    return RetentionPart({start: RetentionCohort(size, tuple(counts), last) for start, size, counts, last in found})


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """One cohort: `complete` periods, from the first, were over for all its users at T."""

    start_ms: int
    label: str
    users: int
    returned: tuple[int, ...]
    complete: int


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """The answer of a retention."""

    rows: tuple[RetentionRow, ...]


def retention_rows(report: tree.Retention, part: RetentionPart, context: tree.Context) -> tuple[RetentionRow, ...]:
    """A row for each period of the window, from the first with entries if the window has no start."""
    interval = shown_interval(report.window, context)
    periods = shown_periods(report.unit, part.cohorts, interval, context.tz)
    if periods is None:
        return ()
    edges, nobody = periods.edges_ms.tolist(), (0,) * report.periods
    found = [
        # A day that the zone skipped begins with the next one, which has its own cohort.
        (part.cohorts.get(start) if start < end else None) or RetentionCohort(0, nobody, min(end - 1, interval.last_ms))
        for start, end in pairwise(edges)
    ]
    latest = np.array([cohort.latest_entry_ms for cohort in found], np.int64)
    complete = np.minimum(_periods_over(report, periods, latest, context), report.periods).tolist()
    return tuple(
        RetentionRow(start, label, cohort.users, cohort.returned, closed)
        for start, label, cohort, closed in zip(edges, periods.labels(), found, complete, strict=False)
    )


def _periods_over(report: tree.Retention, cohorts: Periods, latest: I64, context: tree.Context) -> I64:
    """Number of periods after the last entry of each cohort that had ended by T."""
    end_ms = context.as_of_ms + 1
    if report.start is tree.PeriodStart.CALENDAR:
        calendar = periods_over(report.unit, int(cohorts.edges_ms[0]), end_ms, context.tz)
        return int(calendar.index_of(np.array([end_ms]))[0]) - np.searchsorted(calendar.first_days, cohorts.first_days)
    if report.unit == "month":
        ends = np.full(latest.shape, end_ms, np.int64)
        return months_between(latest, ends, zone_offsets(context.tz, int(latest.min()), end_ms))
    return (end_ms - latest) // (DAY_MS if report.unit == "day" else 7 * DAY_MS)


def _check(report: tree.Retention, binder: Binder) -> None:
    check_unit(report.unit)
    if not 1 <= report.periods <= PERIODS_MAX:
        raise QueryInvalid(f"a retention has 1 to {PERIODS_MAX} periods, not {report.periods}")
    _bind(report, binder, NO_SCHEMA)


def _finish(report: tree.Retention, part: RetentionPart, context: tree.Context) -> Finished:
    rows = retention_rows(report, part, context)
    return Finished(RetentionReport(rows), any(row.complete < report.periods for row in rows))


RETENTION: Final = ReportKind(
    RetentionPart,
    RetentionReport,
    _check,
    _evaluate,
    _finish,
    RetentionPart({}),
    warm_up=(
        'retention("A", return: "B", unit: day, periods: 3)',
        'retention("A", return: "B", unit: month, periods: 3)',
        'retention("A", return: "A", unit: week, periods: 3, start: calendar, last: 30d)',
    ),
)
