"""Trend: events and users per calendar period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.periods import Periods, periods_over
from cdp_query.calendar.windows import Interval, shown_interval
from cdp_query.compiled.periodic import OVERLAP_MAX_MS, write_trend
from cdp_query.compiled.report_run import ReportRun
from cdp_query.kernels import trend as kernels
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, ReportKind, Run
from cdp_query.reports.shown_periods import check_unit, shown_periods
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.exact_total import ExactTotal, fractions_of_limbs, no_limbs
from cdp_query.scan.scan import Scanned, is_wide, scan_in_time
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_store.arrays import I32, I64, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_SHARED_MIN: Final = 4
_NO_NUMBERS: Final = ExactTotal()


@dataclass(frozen=True, slots=True)
class TrendCell:
    """One period: events, users with at least one, and the total of the property."""

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


def _evaluate(report: tree.Trend, run: Run) -> tuple[int, TrendPart]:
    """(users with any event, the periods with events)."""
    view, population, stats = run.view, run.population, run.stats
    events, interval = run.binder.windowed(report.events, report.window, view.schema)
    events = anchored(events, view, stats)
    prop = None if report.property is None else view.schema.properties.get(report.property)
    chunks = chunks_inside(view, events, interval)
    if not chunks:
        note_dropped(view, events, interval, stats)
        return 0, TrendPart({})
    first_ms = max(interval.first_ms, min(chunk.first_ms for chunk in chunks))
    last_ms = min(interval.last_ms, max(chunk.last_ms for chunk in chunks))
    periods = periods_over(report.unit, first_ms, last_ms, run.binder.context.tz)
    tally = _Tally(periods, population, _SharedPeriods(periods, chunks, interval, population.shape[0]))
    totals = _Totals(periods, population)
    for scanned in scan_in_time(view, events, interval, stats):
        tally.add(scanned)
        if prop is not None:
            totals.add(scanned, prop, stats)
    tally.finish()
    sums = totals.finish()
    shown = np.flatnonzero(tally.events)
    columns = (shown, periods.edges_ms[shown], tally.events[shown], tally.users[shown])
    cells = {
        start: TrendCell(events, users, sums.get(period, _NO_NUMBERS))
        for period, start, events, users in zip(*(column.tolist() for column in columns), strict=True)
    }
    return int(np.count_nonzero(tally.active)), TrendPart(cells)


def _run(report: tree.Trend, run: ReportRun) -> tuple[int, TrendPart] | None:
    """The same of all partitions by kernels, where no property is added up."""
    events, interval = run.binder.windowed(report.events, report.window, run.names)
    if report.property is not None or not run.can_read(events) or run.overlap_ms(events) > OVERLAP_MAX_MS:
        return None
    extent, program = run.extent(events, interval) or Interval(0, 0), run.program()
    periods = periods_over(report.unit, extent.first_ms, extent.last_ms, run.binder.context.tz)
    output: I64 = np.zeros(2 * len(periods), np.int64)
    count = run.run(program, write_trend(program, events, interval, periods), output)
    of_events, of_users = np.split(output, 2)
    shown = np.flatnonzero(of_events)
    columns = (periods.edges_ms[shown], of_events[shown], of_users[shown])
    return count, TrendPart(
        {
            start: TrendCell(events, users, _NO_NUMBERS)
            for start, events, users in zip(*(column.tolist() for column in columns), strict=True)
        }
    )


def chunks_inside(view: PartitionView, events: BoundEvents, interval: Interval) -> list[EventChunk]:
    """Chunks of the names that overlap the interval."""
    if interval.last_ms < interval.first_ms:
        return []
    chunks = (chunk for name in events.names for chunk in view.event_chunks(name))
    return [chunk for chunk in chunks if interval.overlaps(chunk.first_ms, chunk.last_ms)]


class _SharedPeriods:
    """Users that were counted already in a period that several chunks share; a flag per row while it is needed.

    Events of wide chunks occur in few of the many periods that they span. They are recorded by (period, row) instead.
    """

    def __init__(self, periods: Periods, chunks: list[EventChunk], interval: Interval, row_count: int) -> None:
        self.slots: I32 = np.full(len(periods), -1, np.int32)
        self.seen: Bools = np.zeros((_SHARED_MIN, row_count), np.bool_)
        self._periods, self._interval = periods, interval
        self._touching: I64 = np.zeros(len(periods), np.int64)
        self._last_bucket: I64 = np.full(len(periods), np.iinfo(np.int64).min, np.int64)
        self._wide: I64 = np.zeros(0, np.int64)
        for chunk in chunks:
            if is_wide(chunk):
                continue
            touched = self._touched(chunk)
            self._touching[touched] += 1
            np.maximum(self._last_bucket[touched], chunk.bucket, out=self._last_bucket[touched])
        self._free = list(range(_SHARED_MIN))

    def count_wide(self, periods: I64, rows: I64, users: I64) -> None:
        """Counts each user once in these periods, before any chunk is opened."""
        row_count = self.seen.shape[1]
        self._wide = np.unique(periods * row_count + rows)
        touched, counts = np.unique(self._wide // row_count, return_counts=True)
        users[touched] += counts
        self._touching[touched] += 1

    def open(self, chunk: EventChunk) -> None:
        """Gives a slot to each period that the chunk shares with others; chunks arrive with buckets ascending."""
        for period in np.flatnonzero((self.slots >= 0) & (self._last_bucket < chunk.bucket)):
            slot = int(self.slots[period])
            self.seen[slot] = False
            self._free.append(slot)
            self.slots[period] = -1
        touched = self._touched(chunk)
        for period in touched.start + np.flatnonzero((self._touching[touched] > 1) & (self.slots[touched] < 0)):
            self.slots[period] = slot = self._take_slot()
            row_count = self.seen.shape[1]
            first, last = np.searchsorted(self._wide, (period * row_count, (period + 1) * row_count))
            self.seen[slot, self._wide[first:last] - period * row_count] = True

    def _take_slot(self) -> int:
        if not self._free:
            held = self.seen.shape[0]
            self.seen = np.concatenate([self.seen, np.zeros_like(self.seen)])
            self._free.extend(range(held, 2 * held))
        return self._free.pop()

    def _touched(self, chunk: EventChunk) -> slice:
        first_ms = max(chunk.first_ms, self._interval.first_ms)
        last_ms = min(chunk.last_ms, self._interval.last_ms)
        first, last = self._periods.index_of(np.array([first_ms, last_ms]))
        return slice(int(first), int(last) + 1)


class _Tally:
    """Events and users by period, and the users active at all."""

    def __init__(self, periods: Periods, population: Bools, shared: _SharedPeriods) -> None:
        self.events: I64 = np.zeros(len(periods), np.int64)
        self.users: I64 = np.zeros(len(periods), np.int64)
        self.active: Bools = np.zeros(population.shape[0], np.bool_)
        self._periods, self._population, self._shared = periods, population, shared
        self._edges: I64 = periods.edges_ms - periods.edges_ms[0]
        self._wide: list[tuple[I64, I64]] | None = []

    def add(self, scanned: Scanned) -> None:
        """Counts the events of a chunk; wide ones come first."""
        if is_wide(scanned.chunk):
            self._add_wide(scanned)
        else:
            self.finish()
            self._add_dense(scanned)

    def finish(self) -> None:
        """Counts the users of wide chunks, once all of them were added."""
        if self._wide:
            periods, rows = (np.concatenate(part) for part in zip(*self._wide, strict=True))
            self._shared.count_wide(periods, rows, self.users)
        self._wide = None

    def _add_wide(self, scanned: Scanned) -> None:
        assert self._wide is not None, "wide chunks come before others"
        rows = scanned.rows().astype(np.int64)
        counted = self._population[rows]
        rows, periods = rows[counted], self._periods.index_of(scanned.times()[counted])
        np.add.at(self.events, periods, 1)
        self.active[rows] = True
        self._wide.append((periods, rows))

    def _add_dense(self, scanned: Scanned) -> None:
        chunk, periods, shared = scanned.chunk, self._periods, self._shared
        shared.open(chunk)
        kernels.count_by_period(
            chunk.run_rows,
            chunk.run_starts,
            chunk.run_offsets,
            chunk.times,
            chunk.base_ms - int(periods.edges_ms[0]),
            scanned.kernel_mask(),
            self._edges,
            periods.blocks,
            periods.block_bits,
            self._population,
            shared.slots,
            shared.seen,
            self.events,
            self.users,
            self.active,
        )


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
    run=_run,
    warm_up=(
        'trend("A", unit: week, last: 30d)',
        'trend("A".small, small > 9, unit: day)',
        'trend("A".price, small > 9, unit: day)',
    ),
)
