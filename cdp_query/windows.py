"""Every window form and time literal to epoch milliseconds, in a time zone.

Windows become closed intervals of whole milliseconds, [first_ms, last_ms], so that open and half-open ends need
no flag below this module.
"""

from __future__ import annotations

import calendar
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from cdp_query.errors import QueryInvalid
from cdp_query.tree import (
    After,
    Ago,
    Always,
    Before,
    Context,
    DaysAgo,
    Duration,
    FixedWindow,
    FromTo,
    Last,
    LastCalendar,
    Moment,
    MoreThanAgo,
    Previous,
    Since,
    This,
    Window,
    WithinFirst,
)
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import to_datetime, to_ms

_FIXED_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_CALENDAR_UNIT: Final = {"d": "day", "w": "week", "mo": "month", "y": "year"}


@dataclass(frozen=True, slots=True)
class Interval:
    """Instants from first_ms to last_ms, both included; empty when last_ms < first_ms."""

    first_ms: int
    last_ms: int

    def overlaps(self, first_ms: int, last_ms: int) -> bool:
        """Whether any instant of [first_ms, last_ms] lies inside."""
        return first_ms <= self.last_ms and last_ms >= self.first_ms

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Whether all of [first_ms, last_ms] lies inside."""
        return self.first_ms <= first_ms and last_ms <= self.last_ms


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The IANA zone of that name; QueryInvalid when there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise QueryInvalid(f"unknown time zone {name!r}; use an IANA name such as Europe/Berlin") from error


def fixed_ms(duration: Duration) -> int:
    """Length of a duration that does not depend on the calendar."""
    if duration.unit not in _FIXED_MS:
        raise QueryInvalid(f"{duration} has no fixed length; use days or weeks here")
    length = duration.amount * _FIXED_MS[duration.unit]
    if length > TIME_MAX_MS - TIME_MIN_MS:
        raise QueryInvalid(f"{duration} is longer than the calendar")
    return length


def parse_moment(moment: Moment, tz: zoneinfo.ZoneInfo) -> tuple[datetime, bool]:
    """(aware instant, whether only a date was written; then its local midnight)."""
    try:
        if len(moment.iso) == 10:
            return _midnight(date.fromisoformat(moment.iso), tz), True
        instant = datetime.fromisoformat(moment.iso)
    except ValueError as error:
        raise QueryInvalid(f"{moment.iso!r} is no date or time: {error}") from error
    return (instant if instant.tzinfo else instant.replace(tzinfo=tz)), False


def moment_span(moment: Moment, context: Context) -> Interval:
    """The milliseconds a time literal stands for: one instant, or the whole local day of a date."""
    tz = zone(context.tz)
    with _calendar_errors(moment.iso):
        start, is_date = parse_moment(moment, tz)
        if not is_date:
            return Interval(to_ms(start), to_ms(start))
        return Interval(to_ms(start), to_ms(_next_day(start, tz)) - 1)


def minus(instant: datetime, duration: Duration, tz: zoneinfo.ZoneInfo) -> datetime:
    """instant - duration: hours and days by elapsed time, months and years by the local calendar, day clamped."""
    if duration.unit in _FIXED_MS:
        try:
            return instant - timedelta(milliseconds=fixed_ms(duration))
        except OverflowError as error:
            raise QueryInvalid(f"{duration} before {instant:%Y-%m-%d} is beyond the calendar") from error
    local = instant.astimezone(tz)
    months = duration.amount * (12 if duration.unit == "y" else 1)
    shifted = _add_months(local.date(), -months)
    return datetime.combine(shifted, local.timetz().replace(tzinfo=None), tz)


def today(context: Context) -> date:
    """The local date of T."""
    return to_datetime(context.as_of_ms).astimezone(zone(context.tz)).date()


def day_start_ms(day: date, tz: zoneinfo.ZoneInfo) -> int:
    """Epoch milliseconds of a local day's first instant."""
    return _start_ms(day, tz)


def shift_date(day: date, duration: Duration, sign: int) -> date:
    """A date some days, weeks, months or years later (or with sign -1 earlier), the day of the month clamped."""
    with _calendar_errors(f"{duration} from {day}"):
        return _shift(day, _CALENDAR_UNIT[duration.unit], sign * duration.amount)


def is_calendar(duration: Duration) -> bool:
    """Whether a duration counts local days or longer units, and not elapsed time."""
    return duration.unit in _CALENDAR_UNIT


def complete_periods(unit: str, count: int, context: Context) -> tuple[int, ...]:
    """First instants of the `count` calendar units before the current one, oldest first, and of the current one."""
    tz = zone(context.tz)
    with _calendar_errors(f"the last {count} {unit}s"):
        current = _unit_start(today(context), unit)
        return tuple(day_start_ms(_shift(current, unit, -back), tz) for back in range(count, -1, -1))


def shown_interval(window: Window, context: Context) -> Interval:
    """The interval of a report's window; one that differs from user to user may begin whenever and ends at T."""
    return resolve(Always() if isinstance(window, WithinFirst | Since) else window, context)


def resolve(window: Window, context: Context) -> Interval:
    """The interval of a window at the context's instant; QueryInvalid when it ends before it starts."""
    if isinstance(window, WithinFirst | Since):
        form = "within: .., of_first: .." if isinstance(window, WithinFirst) else "since: .."
        raise QueryInvalid(f"{form} is another window for each user; it stands where events are counted")
    tz, as_of = zone(context.tz), to_datetime(context.as_of_ms)
    with _calendar_errors("the window"):
        first, last = _bounds(window, as_of, tz)
    return Interval(max(first, TIME_MIN_MS), min(last, context.as_of_ms))


@contextmanager
def _calendar_errors(what: str) -> Iterator[None]:
    """Datetime arithmetic ends with the years 1 and 9999, and near them a shift of zone is enough."""
    try:
        yield
    except (OverflowError, ValueError) as error:
        raise QueryInvalid(f"{what} reaches beyond the calendar (years 1 to 9999)") from error


def _bounds(window: FixedWindow, as_of: datetime, tz: zoneinfo.ZoneInfo) -> tuple[int, int]:
    now = to_ms(as_of)
    match window:
        case Always():
            return TIME_MIN_MS, now
        case FromTo(start, end):
            return _from_to(start, end, tz)
        case Before(moment):
            return TIME_MIN_MS, to_ms(parse_moment(moment, tz)[0]) - 1
        case After(moment):
            instant, is_date = parse_moment(moment, tz)
            return (to_ms(_next_day(instant, tz)) if is_date else to_ms(instant) + 1), TIME_MAX_MS
        case Last(duration):
            return to_ms(minus(as_of, duration, tz)) + 1, now
        case MoreThanAgo(duration):
            return TIME_MIN_MS, to_ms(minus(as_of, duration, tz))
        case Ago(near, far):
            first, last = to_ms(minus(as_of, far, tz)) + 1, to_ms(minus(as_of, near, tz))
            if last < first:
                raise QueryInvalid(f"ago: {near}..{far} is empty; write the nearer end first, as in ago: 30d..60d")
            return first, last
        case _:
            return _calendar_bounds(window, as_of, tz)


def _calendar_bounds(
    window: LastCalendar | DaysAgo | This | Previous, as_of: datetime, tz: zoneinfo.ZoneInfo
) -> tuple[int, int]:
    today = as_of.astimezone(tz).date()
    match window:
        case LastCalendar(duration):
            unit = _CALENDAR_UNIT.get(duration.unit)
            if unit is None:
                raise QueryInvalid(f"last_calendar takes days, weeks, months or years, not {duration}")
            return _start_ms(_shift(_unit_start(today, unit), unit, -duration.amount), tz), to_ms(as_of)
        case DaysAgo(days):
            day = _shift(today, "day", -days)
            return _start_ms(day, tz), _start_ms(_shift(day, "day", 1), tz) - 1
        case This(unit):
            return _start_ms(_unit_start(today, unit), tz), to_ms(as_of)
        case Previous(unit):
            current = _unit_start(today, unit)
            return _start_ms(_shift(current, unit, -1), tz), _start_ms(current, tz) - 1


def _from_to(start: Moment, end: Moment, tz: zoneinfo.ZoneInfo) -> tuple[int, int]:
    (first, _), (last, last_is_date) = parse_moment(start, tz), parse_moment(end, tz)
    # As instants: Python compares two times of one zone by the clock on the wall, which jumps.
    if to_ms(last) < to_ms(first):
        raise QueryInvalid(f"the window ends before it starts: from {start.iso} to {end.iso}")
    return to_ms(first), to_ms(_next_day(last, tz) if last_is_date else last) - 1


def _midnight(day: date, tz: zoneinfo.ZoneInfo) -> datetime:
    # Where a zone skips midnight (a spring change at 00:00), the day starts at the first instant after the gap:
    # through UTC and back names that instant.
    return datetime.combine(day, time(), tz).astimezone(UTC).astimezone(tz)


def _next_day(start: datetime, tz: zoneinfo.ZoneInfo) -> datetime:
    return _midnight(_shift(start.astimezone(tz).date(), "day", 1), tz)


def _start_ms(day: date, tz: zoneinfo.ZoneInfo) -> int:
    return to_ms(_midnight(day, tz))


def _unit_start(day: date, unit: str) -> date:
    match unit:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def _shift(day: date, unit: str, by: int) -> date:
    try:
        match unit:
            case "day":
                return day + timedelta(days=by)
            case "week":
                return day + timedelta(weeks=by)
            case "month":
                return _add_months(day, by)
        return _add_months(day, 12 * by)
    except OverflowError as error:
        raise QueryInvalid(f"{abs(by)} {unit}s from {day} is beyond the calendar") from error


def _add_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    if not 1 <= year <= 9998:
        raise QueryInvalid(f"{abs(months)} months from {day} is beyond the calendar")
    return day.replace(year=year, month=month, day=min(day.day, calendar.monthrange(year, month)[1]))
