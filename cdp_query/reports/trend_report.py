"""Trend: events and users per calendar period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.calendar.periods import Periods, periods_over
from cdp_query.calendar.windows import Interval, shown_interval
from cdp_query.compiled.periodic import write_trend
from cdp_query.compiled.report_run import ReportRun
from cdp_query.kernels import trend as kernels
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, ReportKind
from cdp_query.reports.shown_periods import check_unit, shown_periods
from cdp_query.scan.exact_total import ExactTotal, fractions_of_limbs, no_limbs
from cdp_query.scan.scan import Scanned, scan
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import REPORT, NodeStats
from cdp_store.arrays import I32, I64, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_NO_NUMBERS: Final = ExactTotal()


@dataclass(slots=True)
class TrendCell:
    """One period: events, users with at least one, and the total of the property.

    Not frozen, though nothing changes it: a frozen one takes three times as long to make, and a trend makes hundreds.
    """

    events: int
    users: int
    total: ExactTotal

    def merge(self, other: TrendCell) -> TrendCell:
        """The contribution of both."""
        # Written out: a trend merges hundreds of cells.
        return TrendCell(self.events + other.events, self.users + other.users, self.total.merge(other.total))


@dataclass(frozen=True, slots=True)
class TrendPart(Added):
    """Periods with any event, by their start in epoch ms."""

    cells: Mapping[int, TrendCell]


def _evaluate(report: tree.Trend, run: ReportRun) -> tuple[int, TrendPart]:
    """(users with any event, the periods with events)."""
    events, interval = run.binder.windowed(report.events, report.window, run.names)
    extent, program = run.extent(events, interval) or Interval(0, 0), run.program()
    periods = periods_over(report.unit, extent.first_ms, extent.last_ms, run.binder.context.tz)
    output: I64 = np.zeros(2 * len(periods), np.int64)
    count = run.run(program, write_trend(program, events, interval, periods, run.overlap_ms(events)), output)
    of_events, of_users = output[: len(periods)], output[len(periods) :]
    shown = np.flatnonzero(of_events)
    columns = (periods.edges_ms[shown], of_events[shown], of_users[shown])
    cells = {
        start: TrendCell(events, users, _NO_NUMBERS)
        for start, events, users in zip(*(column.tolist() for column in columns), strict=True)
    }
    return count, TrendPart(cells) if report.property is None else _with_totals(report, run, TrendPart(cells), periods)


def _with_totals(report: tree.Trend, run: ReportRun, part: TrendPart, periods: Periods) -> TrendPart:
    """The part with the totals of a property, which Python adds up in one partition after the other."""
    for view, population in run.partitions():
        run.checkpoint()
        prop = view.schema.properties.get(report.property or "")
        if prop is not None:
            stats = NodeStats()
            part = part.merge(_totals(report, run.binder, view, population, periods, prop, stats))
            stats.truncated = 0  # counted by the other pass
            run.meter.node(REPORT).add(stats)
    return part


def _totals(
    report: tree.Trend,
    binder: Binder,
    view: PartitionView,
    population: Bools,
    periods: Periods,
    prop: int,
    stats: NodeStats,
) -> TrendPart:
    events, interval = binder.windowed(report.events, report.window, view.schema)
    totals = _Totals(periods, population)
    for scanned in scan(view, anchored(events, view, stats), interval, stats):
        totals.add(scanned, prop, stats)
    sums = totals.finish()
    return TrendPart({int(periods.edges_ms[period]): TrendCell(0, 0, total) for period, total in sums.items()})


class _Totals:
    """Exact sums of a property by period."""

    def __init__(self, periods: Periods, population: Bools) -> None:
        self._periods, self._population = periods, population
        self._edges: I64 = periods.edges_ms - periods.edges_ms[0]
        self._counts: I64 = np.zeros(len(periods), np.int64)
        self._float_counts: I64 = np.zeros(len(periods), np.int64)
        self._low: I64 = np.zeros(len(periods), np.int64)
        self._high: I64 = np.zeros(len(periods), np.int64)
        self._fractions = dict[int, int]()

    def add(self, scanned: Scanned, prop: int, stats: NodeStats) -> None:
        """Adds the numbers that a property has on the events of a chunk."""
        for kind, column in scanned.chunk.variants(prop):
            presence, mask = column.presence(), scanned.mask_or_ones()
            mask = mask if presence is None else mask & presence
            stats.bytes += column.nbytes
            if kind is Kind.INT:
                found = self._periods_of(scanned.chunk, mask)
                kernels.sum_integers_by_period(found, column.integers(), self._counts, self._low, self._high)
            elif kind is Kind.FLOAT:
                self._add_floats(self._periods_of(scanned.chunk, mask), column.floats().view(np.int64))
            else:
                stats.type_mismatch += int(mask.sum())

    def finish(self) -> dict[int, ExactTotal]:
        """Totals of the periods that have any number."""
        return {
            int(period): ExactTotal(
                int(self._counts[period] + self._float_counts[period]),
                (int(self._high[period]) << 32) + int(self._low[period]),
                self._fractions.get(int(period), 0),
                bool(self._float_counts[period]),
            )
            for period in np.flatnonzero(self._counts + self._float_counts)
        }

    def _add_floats(self, found: I32, bits: I64) -> None:
        # 560 bytes per period: only for periods with any of these events
        held, numbers = np.unique(found, return_inverse=True)
        limbs, counts = no_limbs(held.shape[0]), np.zeros(held.shape[0], np.int64)
        kernels.sum_floats_by_period(np.where(found < 0, found, numbers).astype(np.int32), bits, counts, limbs)
        for number in np.flatnonzero(counts).tolist():
            period = int(held[number])
            self._float_counts[period] += counts[number]
            self._fractions[period] = self._fractions.get(period, 0) + fractions_of_limbs(limbs[number])

    def _periods_of(self, chunk: EventChunk, mask: Bools) -> I32:
        periods, found = self._periods, np.empty(len(chunk), np.int32)
        kernels.period_of_events(
            chunk.run_rows,
            chunk.run_starts,
            chunk.run_offsets,
            chunk.times,
            chunk.base_ms - int(periods.edges_ms[0]),
            mask,
            self._edges,
            periods.blocks,
            periods.block_bits,
            self._population,
            found,
        )
        return found


@dataclass(frozen=True, slots=True)
class TrendRow:
    """One period: `incomplete` if the window or T cuts it."""

    start_ms: int
    label: str
    events: int
    users: int
    events_per_user: float
    sum: int | float | None
    average: float | None
    incomplete: bool


@dataclass(frozen=True, slots=True)
class TrendReport:
    """The answer of a trend."""

    rows: tuple[TrendRow, ...]


def trend_rows(report: tree.Trend, part: TrendPart, context: tree.Context) -> tuple[TrendRow, ...]:
    """A row for each period of the window, from the first with events if the window has no start."""
    interval, nothing = shown_interval(report.window, context), TrendCell(0, 0, ExactTotal())
    periods = shown_periods(report.unit, part.cells, interval, context.tz)
    rows = list[TrendRow]()
    for (start, end), label in (
        zip(pairwise(periods.edges_ms.tolist()), periods.labels(), strict=True) if periods else ()
    ):
        cell = part.cells.get(start, nothing) if start < end else nothing
        is_cut = start < interval.first_ms or end - 1 > interval.last_ms
        a_user = cell.events / cell.users if cell.users else 0.0
        total = None if report.property is None else cell.total.value()
        rows.append(TrendRow(start, label, cell.events, cell.users, a_user, total, cell.total.average(), is_cut))
    return tuple(rows)


def _check(report: tree.Trend, binder: Binder) -> None:
    check_unit(report.unit)
    binder.windowed(report.events, report.window, NO_SCHEMA)


def _finish(report: tree.Trend, part: TrendPart, context: tree.Context) -> Finished:
    rows = trend_rows(report, part, context)
    return Finished(TrendReport(rows), any(row.incomplete for row in rows))


TREND: Final = ReportKind(
    TrendPart,
    TrendReport,
    _check,
    _evaluate,
    _finish,
    TrendPart({}),
    warm_up=(
        'trend("A", unit: week, last: 30d)',
        'trend("A".small, small > 9, unit: day)',
        'trend("A".price, small > 9, unit: day)',
    ),
)
