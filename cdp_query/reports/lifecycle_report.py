"""Lifecycle: users that are new, returning, resurrecting or dormant, by calendar period.

The window decides which periods are shown. Each is counted as a whole, and earlier events of its users count too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.periods import Periods, periods_over
from cdp_query.calendar.windows import Interval, day_start_ms, shown_interval, zone
from cdp_query.kernels.active_periods import mark_periods
from cdp_query.reports.parts import Counts, CountsPart
from cdp_query.reports.report_kind import Finished, People, ReportKind, Run, in_each
from cdp_query.reports.shown_periods import check_unit, shown_periods
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.scan import scan
from cdp_query.scan.user_windows import anchored
from cdp_store.arrays import I64, U64
from cdp_store.limits import DAY_MS, MORSEL_ROWS, TIME_MIN_MS

_LOOK_BACK_MS: Final = 35 * DAY_MS  # the period before any of them
_PERIODS_AT_ONCE: Final = 512  # 64 bytes per row
_NEVER, _EARLIER = -1, -2  # in place of the last period of a row: without an event, and with one before all periods


@dataclass(frozen=True, slots=True)
class LifecycleRow:
    """One period: `incomplete` if T is inside it."""

    start_ms: int
    label: str
    new: int
    returning: int
    resurrecting: int
    dormant: int
    incomplete: bool


@dataclass(frozen=True, slots=True)
class LifecycleReport:
    """The answer of a lifecycle."""

    rows: tuple[LifecycleRow, ...]


def _check(report: tree.Lifecycle, binder: Binder) -> None:
    check_unit(report.unit)
    binder.windowed(report.events, report.window, NO_SCHEMA)


def _evaluate(report: tree.Lifecycle, run: Run) -> tuple[int, CountsPart]:
    """(users with an event in a shown period; numbers of new, returning and resurrecting users by period).

    The key is the first day of each period, also of the one before those shown.
    """
    view, stats, context = run.view, run.stats, run.binder.context
    events, shown = run.binder.windowed(report.events, report.window, view.schema)
    events = anchored(events, view, stats)
    ever = Interval(TIME_MIN_MS, context.as_of_ms)
    chunks = [chunk for name in events.names for chunk in view.event_chunks(name) if chunk.first_ms <= ever.last_ms]
    note_dropped(view, events, ever, stats)
    if not chunks or shown.last_ms < shown.first_ms:
        return 0, CountsPart({})
    first_ms = min(max(shown.first_ms, min(chunk.first_ms for chunk in chunks)), shown.last_ms)
    last_ms = max(min(shown.last_ms, max(chunk.last_ms for chunk in chunks)), first_ms)
    periods = periods_over(report.unit, max(first_ms - _LOOK_BACK_MS, TIME_MIN_MS), last_ms, context.tz)
    first_shown = int(periods.index_of(np.array([first_ms]))[0])
    tally = _Tally(run, events, periods, max(first_shown - 1, 0))
    spans = [(chunk.first_ms, chunk.last_ms) for chunk in chunks]
    for start in range(tally.first, len(periods), _PERIODS_AT_ONCE):
        stop = min(start + _PERIODS_AT_ONCE, len(periods))
        inside = Interval(int(periods.edges_ms[start]), min(int(periods.edges_ms[stop]) - 1, context.as_of_ms))
        if any(inside.overlaps(*span) for span in spans):
            run.checkpoint()
            tally.add(start, stop, inside)
    cells = {int(periods.first_days[p]): Counts(tuple(tally.counts[p].tolist())) for p in tally.active_periods()}
    return int(np.count_nonzero(tally.last >= first_shown)), CountsPart(cells)


class _Tally:
    """Users of the periods from `first` on: i64[periods, new, returning, resurrecting]; and each row's last period."""

    def __init__(self, run: Run, events: BoundEvents, periods: Periods, first: int) -> None:
        self._run, self._events, self._periods, self.first = run, events, periods, first
        self.counts: I64 = np.zeros((len(periods), 3), np.int64)
        self.last: I64 = np.full(run.view.row_count, _NEVER, np.int64)
        before = Interval(TIME_MIN_MS, int(periods.edges_ms[first]) - 1)
        for scanned in scan(run.view, events, before, run.stats):
            self.last[scanned.rows()] = _EARLIER

    def active_periods(self) -> list[int]:
        """The periods with any active user."""
        return np.flatnonzero(self.counts.any(axis=1)).tolist()

    def add(self, start: int, stop: int, inside: Interval) -> None:
        """Counts users in the periods from one to another, which come in order; `inside` are their instants up to T."""
        periods, rows, count = self._periods, self._run.view.row_count, stop - start
        done: U64 = np.zeros((rows, -(-count // 64)), np.uint64)
        for scanned in scan(self._run.view, self._events, inside, self._run.stats):
            chunk, mask = scanned.chunk, scanned.kernel_mask()
            self._run.stats.bytes += chunk.times.nbytes
            mark_periods(
                chunk.run_rows, chunk.run_starts, chunk.run_offsets, chunk.times, chunk.base_ms, mask,
                periods.edges_ms, periods.blocks, periods.block_bits, start, done,
            )  # fmt: skip
        for first_row in range(0, rows, MORSEL_ROWS):
            users, found = _set_bits(done[first_row : first_row + MORSEL_ROWS])
            counted = self._run.population[first_row + users]
            self._count(first_row + users[counted], start + found[counted])

    def _count(self, rows: I64, periods: I64) -> None:
        """Counts users in periods, ascending by row and then by period."""
        if not rows.size:
            return
        is_first = np.append(True, rows[1:] != rows[:-1])
        before = np.append(_NEVER, periods[:-1])
        before[is_first] = self.last[rows[is_first]]
        is_last = np.append(is_first[1:], True)
        self.last[rows[is_last]] = periods[is_last]
        is_new = before == _NEVER
        is_returning = ~is_new & (periods - before == 1)
        for place, chosen in enumerate((is_new, is_returning, ~is_new & ~is_returning)):
            self.counts[:, place] += np.bincount(periods[chosen], minlength=self.counts.shape[0])


def _set_bits(words: U64) -> tuple[I64, I64]:
    """(row, place) of each set bit in u64[rows, words], in order."""
    flat = words.reshape(-1)
    held = np.flatnonzero(flat)
    bits = np.unpackbits(flat[held].astype("<u8").view(np.uint8), bitorder="little").reshape(-1, 64)
    at, bit = np.nonzero(bits)
    row, word = np.divmod(held[at], words.shape[1])
    return row.astype(np.int64), (word * 64 + bit).astype(np.int64)


def lifecycle_rows(report: tree.Lifecycle, part: CountsPart, context: tree.Context) -> tuple[LifecycleRow, ...]:
    """A row for each period that the window touches, from the first with events if it has no start."""
    cells = {day: cell.counts for day, cell in part.cells.items()}
    starts = [day_start_ms(min(cells), zone(context.tz))] if cells else []
    periods = shown_periods(report.unit, starts, shown_interval(report.window, context), context.tz)
    if periods is None:
        return ()
    days, edges = periods.first_days.tolist(), pairwise(periods.edges_ms.tolist())
    active = sum(sum(counts) for day, counts in cells.items() if day < days[0])
    rows = list[LifecycleRow]()
    for day, (start, end), label in zip(days, edges, periods.labels(), strict=True):
        new, returning, resurrecting = cells.get(day, (0, 0, 0))
        is_cut = end - 1 > context.as_of_ms
        rows.append(LifecycleRow(start, label, new, returning, resurrecting, active - returning, is_cut))
        active = new + returning + resurrecting
    return tuple(rows)


def _finish(report: tree.Lifecycle, part: CountsPart, context: tree.Context) -> Finished:
    rows = lifecycle_rows(report, part, context)
    return Finished(LifecycleReport(rows), any(row.incomplete for row in rows))


def _by_row(rows: Sequence[LifecycleRow], population: int) -> Iterator[tuple[int, ...]]:
    """Numbers of groups that follow from the rows up to each.

    Users that were active before and not lately, and users that never were, if the first row counts all earlier ones.
    Also users that were not active since some row, or the one before it, if none resurrected since.
    """
    ever = sum(row.returning + row.resurrecting + row.dormant for row in rows[:1])
    met = list[int]()  # active in the periods from an earlier row on
    for row in rows:
        ever += row.new
        active = row.new + row.returning + row.resurrecting
        met = [] if row.resurrecting else [each + row.new for each in met]
        yield ever - active - row.dormant, population - ever, *(population - each for each in met)
        met += [active + row.dormant]


def _by_count(rows: Sequence[LifecycleRow], count: int) -> Iterator[int]:
    """Numbers of groups that follow from all rows and the count.

    Users that were active in some shown period and are not among the new, not in one period, or became active again
    later. Also those in no period, in no period but others, active again from the third on, or back there after a
    pause.
    """
    new = sum(row.new for row in rows)
    yield count - new
    for row in rows:
        yield count - row.new - row.returning - row.resurrecting
    for row in rows[:1]:
        yield count - new - row.returning - row.resurrecting
        yield new + row.returning + row.resurrecting + row.dormant - count
    for row in rows[1:]:
        yield count - row.new - row.returning - row.resurrecting - row.dormant
    if len(rows) > 2:
        again = count - new - rows[0].returning - rows[0].resurrecting - rows[1].resurrecting
        yield again
        yield sum(row.resurrecting for row in rows[2:]) - again


LIFECYCLE: Final = ReportKind(
    CountsPart,
    LifecycleReport,
    _check,
    in_each(_evaluate),
    _finish,
    CountsPart({}),
    ('lifecycle("A", unit: day, last: 9d)', 'lifecycle(["A", "B"], small > 3, unit: week)'),
    People(("new", "returning", "resurrecting", "dormant"), (), "rows", _by_row, _by_count),
)
