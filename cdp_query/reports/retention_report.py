"""Retention: cohorts by the period of the first entry, and the periods in which their users returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.periods import Periods, check_shown, months_between, periods_over, zone_offsets
from cdp_query.calendar.windows import Interval, shown_interval
from cdp_query.compiled.periodic import RETURNS_MAX, write_entries, write_returns
from cdp_query.compiled.report_run import ReportRun
from cdp_query.errors import QueryInvalid
from cdp_query.kernels import aggregate
from cdp_query.kernels import retention as kernels
from cdp_query.limits import PERIODS_MAX
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, ReportKind, Run
from cdp_query.reports.shown_periods import check_unit, shown_periods
from cdp_query.scan.scan import Scanned, filter_mask, scan
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import REPORT, NodeStats
from cdp_query.tree import PeriodStart, ReturnMode
from cdp_store.arrays import I32, I64, U32, U64, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import DAY_MS, TIME_MAX_MS
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_NEVER: Final = TIME_MAX_MS + 1
_ELAPSED_MS: Final = {"day": DAY_MS, "week": 7 * DAY_MS}
_WORD_BITS: Final = 64


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


def _evaluate(report: tree.Retention, run: Run) -> tuple[int, RetentionPart]:
    """(users that entered, the cohorts with any user)."""
    bound = _bind(report, run.binder, run.view.schema)
    return _retention(run, replace(bound, entry=anchored(bound.entry, run.view, run.stats)))


def _run(report: tree.Retention, run: ReportRun) -> tuple[int, RetentionPart] | None:
    """The same of all partitions by kernels: cohorts of days and weeks, and of months of the calendar."""
    bound = _bind(report, run.binder, run.names)
    is_calendar = report.start is PeriodStart.CALENDAR
    if report.periods > RETURNS_MAX or not (is_calendar or report.unit in _ELAPSED_MS):
        return None
    if not run.can_read(bound.entry, bound.returns):
        return None
    program, extremes = run.program(), np.array([_NEVER, -_NEVER], np.int64)
    entries: I64 = np.empty(sum(view.row_count for view in run.views), np.int64)
    users = run.run(program, write_entries(program, bound.entry, bound.interval), extremes, entries)
    if not users:
        return 0, RetentionPart({})
    entered = Interval(*extremes.tolist())
    check_shown(report.unit, entered.first_ms, entered.last_ms, bound.tz)
    periods = periods_over(report.unit, entered.first_ms, bound.until_ms if is_calendar else entered.last_ms, bound.tz)
    program, cohorts = run.program(), len(periods)
    leaf = write_returns(
        program,
        bound.returns,
        _return_interval(bound, entered),
        periods,
        unit=0 if is_calendar else _ELAPSED_MS[report.unit],
        periods=report.periods,
        to_the_end=int(report.mode is ReturnMode.ON_OR_AFTER),
        with_entry=int(_is_disjoint(bound)),
    )
    output: I64 = np.zeros(cohorts * (2 + report.periods), np.int64)
    output[cohorts : 2 * cohorts] = np.iinfo(np.int64).min
    at_entry = None if _is_disjoint(bound) else _returned_at_entry(report, run, entries, leaf)
    run.run(program, leaf, output, entries, at_entry)
    of_users, latest = output[:cohorts], output[cohorts : 2 * cohorts]
    cells = output[2 * cohorts :].reshape(cohorts, report.periods)
    return users, _part(periods, of_users, cells, latest)


def _returned_at_entry(report: tree.Retention, run: ReportRun, entries: I64, leaf: int) -> dict[tuple[int, int], Bools]:
    """Masks of the rows that returned at the instant of their entry, for events that enter and return."""
    masks, start = dict[tuple[int, int], Bools](), 0
    for number, view in enumerate(run.views):
        entry = entries[start : start + view.row_count]
        own = _bind(report, run.binder, view.schema)
        masks[number, leaf] = _returned_at_once(view, own, entry, run.stats[REPORT])
        start += view.row_count
    return masks


def _is_disjoint(report: _Bound) -> bool:
    return not set(report.entry.names) & set(report.returns.names)


def _bind(report: tree.Retention, binder: Binder, schema: SchemaReading) -> _Bound:
    entry, interval = binder.windowed(report.entry, report.window, schema)
    returns = binder.events(report.returns, schema)
    return _Bound(report, entry, returns, interval, binder.context.as_of_ms, binder.context.tz)


def _retention(run: Run, report: _Bound) -> tuple[int, RetentionPart]:
    view, population, stats = run.view, run.population, run.stats
    entry = _first_entries(view, report, stats)
    users, first_ms, last_ms = kernels.entry_bounds(entry, population, _NEVER)
    if not users:
        return 0, RetentionPart({})
    check_shown(report.asked.unit, first_ms, last_ms, report.tz)  # before tables of all cohorts are built
    entered = Interval(first_ms, last_ms)
    returned: U64 = np.zeros((entry.shape[0], -(-report.asked.periods // _WORD_BITS)), np.uint64)
    _mark_returns(view, report, entry, entered, returned, stats)
    return users, _count(report, entry, entered, returned)


def _first_entries(view: PartitionView, report: _Bound, stats: NodeStats) -> I64:
    """Epoch ms of each row's first entry, i64[rows]; _NEVER for rows without one."""
    entry: I64 = np.full(view.row_count, _NEVER, np.int64)
    for scanned in scan(view, report.entry, report.interval, stats):
        chunk = scanned.chunk
        mask = scanned.kernel_mask()
        kernels.first_times(
            chunk.run_rows, chunk.run_starts, chunk.run_offsets, chunk.times, chunk.base_ms, mask, entry
        )
    return entry


def _mark_returns(
    view: PartitionView, report: _Bound, entry: I64, entered: Interval, returned: U64, stats: NodeStats
) -> None:
    """Sets the periods in which rows returned; `entered` is from the first entry to the last."""
    is_disjoint = _is_disjoint(report)
    mark = _marker(report, entry, entered, is_disjoint, returned)
    for scanned in scan(view, report.returns, _return_interval(report, entered), stats):
        stats.bytes += scanned.chunk.times.nbytes
        mark(scanned)
    if not is_disjoint:
        returned[:, 0] |= _returned_at_once(view, report, entry, stats).astype(np.uint64)


def _return_interval(report: _Bound, entered: Interval) -> Interval:
    """Interval of the returns that count for any user."""
    asked, last_ms = report.asked, report.until_ms
    if asked.mode is ReturnMode.ON and asked.start is PeriodStart.ROLLING and asked.unit in _ELAPSED_MS:
        last_ms = min(last_ms, entered.last_ms + asked.periods * _ELAPSED_MS[asked.unit] - 1)
    return Interval(entered.first_ms, last_ms)


def _marker(
    report: _Bound, entry: I64, entered: Interval, with_entry: bool, returned: U64
) -> Callable[[Scanned], None]:
    """Function that marks the periods of the returns in a chunk; `with_entry` counts those at the entry's instant."""
    to_the_end, periods = report.asked.mode is ReturnMode.ON_OR_AFTER, report.asked.periods
    if report.asked.start is PeriodStart.CALENDAR:
        return _calendar_marker(report, entry, entered, with_entry, returned)
    if report.asked.unit in _ELAPSED_MS:
        unit_ms = _ELAPSED_MS[report.asked.unit]

        def mark_elapsed(scanned: Scanned) -> None:
            chunk, mask = scanned.chunk, scanned.kernel_mask()
            kernels.mark_elapsed_periods(
                chunk.run_rows, chunk.run_starts, chunk.run_offsets, chunk.times, chunk.base_ms, mask,
                entry, with_entry, unit_ms, periods, to_the_end, returned,
            )  # fmt: skip

        return mark_elapsed

    offsets = zone_offsets(report.tz, entered.first_ms, report.until_ms)

    def mark_months(scanned: Scanned) -> None:
        rows, at = scanned.rows(), scanned.chunk.full_times()
        at = at if scanned.mask is None else at[scanned.mask]
        starts = entry[rows]
        chosen = np.flatnonzero((at > starts) | ((at == starts) & with_entry))
        given = months_between(starts[chosen], at[chosen], offsets)
        kernels.mark_given_periods(rows[chosen], given, periods, to_the_end, returned)

    return mark_months


def _calendar_marker(
    report: _Bound, entry: I64, entered: Interval, with_entry: bool, returned: U64
) -> Callable[[Scanned], None]:
    calendar = periods_over(report.asked.unit, entered.first_ms, report.until_ms, report.tz)
    entry_period = _periods_of(entry, calendar)
    to_the_end, periods = report.asked.mode is ReturnMode.ON_OR_AFTER, report.asked.periods

    def mark_calendar(scanned: Scanned) -> None:
        chunk, mask = scanned.chunk, scanned.kernel_mask()
        kernels.mark_calendar_periods(
            chunk.run_rows, chunk.run_starts, chunk.run_offsets, chunk.times, chunk.base_ms, mask, entry, with_entry,
            calendar.edges_ms, calendar.blocks, calendar.block_bits, entry_period, periods, to_the_end, returned,
        )  # fmt: skip

    return mark_calendar


def _returned_at_once(view: PartitionView, report: _Bound, entry: I64, stats: NodeStats) -> Bools:
    """Rows with a return at the instant of the entry that is another event: bool[rows].

    Of the events at that instant some match only the entry, some only the return, some both. There is a return if one
    event matches only the return, or if one of at least two events matches both.
    """
    only_entry, only_return, both = (np.zeros(entry.shape[0], np.uint32) for _ in range(3))
    names = dict.fromkeys((*report.entry.names, *report.returns.names))
    for name, chunk in ((own, chunk) for own in names for chunk in view.event_chunks(own)):
        at_entry = chunk.full_times() == entry[chunk.full_rows()]
        if at_entry.any():
            enters = at_entry & _matches(view, report.entry, name, chunk, stats)
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


def _periods_of(entry: I64, calendar: Periods) -> I32:
    periods: I32 = np.empty(entry.shape[0], np.int32)
    kernels.period_of_rows(entry, _NEVER, calendar.edges_ms, calendar.blocks, calendar.block_bits, periods)
    return periods


def _count(report: _Bound, entry: I64, entered: Interval, returned: U64) -> RetentionPart:
    cohorts = periods_over(report.asked.unit, entered.first_ms, entered.last_ms, report.tz)
    users: I64 = np.zeros(len(cohorts), np.int64)
    cells: I64 = np.zeros((len(cohorts), report.asked.periods), np.int64)
    latest: I64 = np.full(len(cohorts), np.iinfo(np.int64).min, np.int64)
    cumulative = report.asked.mode is ReturnMode.ON_OR_AFTER
    kernels.count_cohorts(_periods_of(entry, cohorts), entry, returned, cumulative, users, cells, latest)
    return _part(cohorts, users, cells, latest)


def _part(cohorts: Periods, users: I64, cells: I64, latest: I64) -> RetentionPart:
    return RetentionPart(
        {
            int(cohorts.edges_ms[number]): RetentionCohort(
                int(users[number]), tuple(cells[number].tolist()), int(latest[number])
            )
            for number in np.flatnonzero(users)
        }
    )


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
    run=_run,
    warm_up=(
        'retention("A", return: "B", unit: day, periods: 3)',
        'retention("A", return: "B", unit: month, periods: 3)',
        'retention("A", return: "A", unit: week, periods: 3, start: calendar, last: 30d)',
    ),
)
