"""Merged parts to the rows of a report: empty periods filled in, open ones marked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cdp_query import tree
from cdp_query.calendar.periods import Periods, check_shown, months_between, periods_over, zone_offsets
from cdp_query.calendar.windows import Interval, shown_interval
from cdp_query.reports.parts import ReportPart, RetentionCohort, RetentionPart, TrendCell, TrendPart
from cdp_query.scan.exact_total import ExactTotal
from cdp_store.arrays import I64
from cdp_store.limits import DAY_MS, TIME_MIN_MS


@dataclass(frozen=True, slots=True)
class TrendRow:
    """One period: `incomplete` where the window or T cuts it."""

    start_ms: int
    label: str
    cell: TrendCell
    incomplete: bool


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """One cohort: `complete` periods, from the first, were over for all its users at T."""

    start_ms: int
    label: str
    users: int
    returned: tuple[int, ...]
    complete: int


def trend_rows(report: tree.Trend, part: ReportPart | None, context: tree.Context) -> list[TrendRow]:
    """A row for each period of the window, the first with events where the window has no start."""
    cells = part.cells if isinstance(part, TrendPart) else {}
    interval = shown_interval(report.window, context)
    periods = _periods(report.unit, list(cells), interval, context.tz)
    if periods is None:
        return []
    nothing = TrendCell(0, 0, ExactTotal())
    return [
        TrendRow(
            start,
            label,
            cells.get(start, nothing) if start < end else nothing,
            start < interval.first_ms or end - 1 > interval.last_ms,
        )
        for (start, end), label in zip(pairwise(periods.edges_ms.tolist()), periods.labels(), strict=True)
    ]


def retention_rows(report: tree.Retention, part: ReportPart | None, context: tree.Context) -> list[RetentionRow]:
    """A row for each period of the window, the first with entries where the window has no start."""
    cohorts = part.cohorts if isinstance(part, RetentionPart) else {}
    interval = shown_interval(report.window, context)
    periods = _periods(report.unit, list(cohorts), interval, context.tz)
    if periods is None:
        return []
    edges, nobody = periods.edges_ms.tolist(), (0,) * report.periods
    found = [
        # A day that the zone skipped begins with the next one, whose cohort is not its own.
        (cohorts.get(start) if start < end else None) or RetentionCohort(0, nobody, min(end - 1, interval.last_ms))
        for start, end in pairwise(edges)
    ]
    latest = np.array([cohort.latest_entry_ms for cohort in found], np.int64)
    complete = np.minimum(_periods_over(report, periods, latest, context), report.periods).tolist()
    return [
        RetentionRow(start, label, cohort.users, cohort.returned, closed)
        for start, label, cohort, closed in zip(edges, periods.labels(), found, complete, strict=False)
    ]


def _periods(unit: str, starts: list[int], interval: Interval, tz: str) -> Periods | None:
    """The periods to show; None where there are none."""
    first_ms = interval.first_ms
    if first_ms == TIME_MIN_MS:
        if not starts:
            return None
        first_ms = min(starts)
    if interval.last_ms < first_ms:
        return None
    check_shown(unit, first_ms, interval.last_ms, tz)
    return periods_over(unit, first_ms, interval.last_ms, tz)


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
