"""Windows and time literals as semantics.md defines them, with calendar arithmetic of its own.

Only the unbound tree is shared with the engine. A span keeps the brackets of the table in section 1 as they are
written there: each end says itself whether it belongs to the span.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cdp_query import tree
from tests.oracle_zones import day_start, local_day

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ELAPSED = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_CALENDAR_UNIT = {"d": "day", "w": "week", "mo": "month", "y": "year"}


@dataclass(frozen=True, slots=True)
class Span:
    """Instants between two ends in epoch ms; an end that is None is infinite."""

    start: int | None = None
    end: int | None = None
    with_start: bool = True
    with_end: bool = True

    def holds(self, ts: int) -> bool:
        """Whether an instant lies in the span."""
        return self._after_start(ts) and self._before_end(ts)

    def _after_start(self, ts: int) -> bool:
        return self.start is None or ts > self.start or (self.with_start and ts == self.start)

    def _before_end(self, ts: int) -> bool:
        return self.end is None or ts < self.end or (self.with_end and ts == self.end)


def in_window(window: tree.Window, ts: int, context: tree.Context) -> bool:
    """Whether an event at `ts` lies in the window and is visible at T."""
    return ts <= context.as_of_ms and span_of_window(window, context).holds(ts)


def span_of_window(window: tree.Window, context: tree.Context) -> Span:
    """The span of a window, before events after T are left out."""
    now, tz = context.as_of_ms, ZoneInfo(context.tz)
    match window:
        case tree.Always():
            return Span()
        case tree.FromTo(start, end):
            return Span(_start_of(start, tz), _end_of(end, tz), with_end=False)
        case tree.Before(moment):
            return Span(end=_start_of(moment, tz), with_end=False)
        case tree.After(moment):
            # The day after an excluded date belongs to the window with its first instant.
            return Span(start=_end_of(moment, tz), with_start=_is_date(moment))
        case tree.Last(duration):
            return Span(_earlier(now, duration, tz), now, with_start=False)
        case tree.Ago(near, far):
            return Span(_earlier(now, far, tz), _earlier(now, near, tz), with_start=False)
        case tree.MoreThanAgo(duration):
            return Span(end=_earlier(now, duration, tz))
    return _calendar_span(window, local_date(now, tz), now, tz)


def _calendar_span(window: tree.Window, today: date, now: int, tz: ZoneInfo) -> Span:
    match window:
        case tree.LastCalendar(duration):
            unit = _CALENDAR_UNIT[duration.unit]
            return Span(_midnight(_units_later(_first_day(today, unit), unit, -duration.amount), tz), now)
        case tree.DaysAgo(days):
            day = today - timedelta(days=days)
            return Span(_midnight(day, tz), _midnight(day + timedelta(days=1), tz), with_end=False)
        case tree.This(unit):
            return Span(_midnight(_first_day(today, unit), tz), now)
        case tree.Previous(unit):
            current = _first_day(today, unit)
            return Span(_midnight(_units_later(current, unit, -1), tz), _midnight(current, tz), with_end=False)
    raise AssertionError(f"no window: {window}")


def span_of_moment(moment: tree.Moment, context: tree.Context) -> Span:
    """What a time literal stands for: one instant, or the whole local day of a date."""
    tz = ZoneInfo(context.tz)
    return Span(_start_of(moment, tz), _end_of(moment, tz), with_end=not _is_date(moment))


def length_ms(duration: tree.Duration) -> int:
    """Length of a duration in elapsed time."""
    return duration.amount * _ELAPSED[duration.unit] // timedelta(milliseconds=1)


def earlier(duration: tree.Duration, context: tree.Context) -> int:
    """T minus a duration."""
    return _earlier(context.as_of_ms, duration, ZoneInfo(context.tz))


def complete_periods(unit: str, count: int, context: tree.Context) -> list[Span]:
    """The last calendar units before the current one."""
    tz = ZoneInfo(context.tz)
    current = _first_day(local_date(context.as_of_ms, tz), unit)
    firsts = [_midnight(_units_later(current, unit, -back), tz) for back in range(count + 1)]
    return [Span(start, end, with_end=False) for end, start in pairwise(firsts)]


def _is_date(moment: tree.Moment) -> bool:
    return "T" not in moment.iso


def _start_of(moment: tree.Moment, tz: ZoneInfo) -> int:
    if _is_date(moment):
        return _midnight(date.fromisoformat(moment.iso), tz)
    written = datetime.fromisoformat(moment.iso)
    return _ms(written if written.tzinfo else written.replace(tzinfo=tz))


def _end_of(moment: tree.Moment, tz: ZoneInfo) -> int:
    if _is_date(moment):
        return day_start(date.fromisoformat(moment.iso).toordinal() + 1, tz)
    return _start_of(moment, tz)


def _earlier(now: int, duration: tree.Duration, tz: ZoneInfo) -> int:
    """T minus a duration: elapsed time up to weeks; months and years on the local calendar at the same time of day."""
    if duration.unit in _ELAPSED:
        return now - length_ms(duration)
    local = (_EPOCH + timedelta(milliseconds=now)).astimezone(tz)
    day = months_later(local.date(), -duration.amount * (12 if duration.unit == "y" else 1))
    return _ms(local.replace(year=day.year, month=day.month, day=day.day, fold=0))


def _first_day(day: date, unit: str) -> date:
    first = {
        "day": day,
        "week": day - timedelta(days=day.isoweekday() - 1),
        "month": date(day.year, day.month, 1),
        "year": date(day.year, 1, 1),
    }
    return first[unit]


def _units_later(day: date, unit: str, count: int) -> date:
    if unit in ("day", "week"):
        return day + count * timedelta(days=1 if unit == "day" else 7)
    return months_later(day, count if unit == "month" else 12 * count)


def months_later(day: date, count: int) -> date:
    """The same day some months later, clamped to the end of the month."""
    years, month = divmod(day.month - 1 + count, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def local_date(ts: int, tz: ZoneInfo) -> date:
    """The local day of an instant; those just beyond the calendar's ends count as its first and last."""
    return date.fromordinal(min(max(local_day(ts, tz), date.min.toordinal()), date.max.toordinal()))


def _midnight(day: date, tz: ZoneInfo) -> int:
    return day_start(day.toordinal(), tz)


def _ms(instant: datetime) -> int:
    return (instant.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
