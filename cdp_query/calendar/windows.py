"""Every window form and time literal to epoch milliseconds, in a time zone.

Windows become closed intervals of whole milliseconds, [first_ms, last_ms], so that open and half-open ends need
no flag below this module.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from cdp_query.calendar.zone_clock import zone_clock
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
from cdp_store.limits import DAY_MS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import EPOCH, to_ms

_FIXED_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_CALENDAR_UNIT: Final = {"d": "day", "w": "week", "mo": "month", "y": "year"}
_EPOCH_TO_MONDAY_DAYS: Final = 3  # 1970-01-01 was a Thursday
_UNIT_DAYS: Final = {"day": 1, "week": 7}
_CALENDAR_DAYS: Final = (TIME_MAX_MS - TIME_MIN_MS) // DAY_MS
_CALENDAR_MONTHS: Final = 12 * 9999
_DATE_CHARACTERS: Final = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """Instants from first_ms to last_ms, both included; empty when last_ms < first_ms."""

    first_ms: int
    last_ms: int

    def overlaps(self, first_ms: int, last_ms: int) -> bool:
        """Tests whether any instant of [first_ms, last_ms] lies inside."""
        return first_ms <= self.last_ms and last_ms >= self.first_ms

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Tests whether all of [first_ms, last_ms] lies inside."""
        return self.first_ms <= first_ms and last_ms <= self.last_ms


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The IANA zone of that name; QueryInvalid if there is none."""
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
        raise _beyond_the_calendar(str(duration))
    return length


def moment_span(moment: Moment, context: Context) -> Interval:
    """The milliseconds of a time literal: one instant, or the whole local day of a date (maybe skipped)."""
    tz = zone(context.tz)
    return Interval(_first_ms(moment, tz), _end_ms(moment, tz) - 1 if _is_date(moment) else _first_ms(moment, tz))


def is_before(moment: Moment, other: Moment, context: Context) -> bool:
    """Tests whether a time literal is before another; of a date and an instant on it, neither is before the other."""
    tz = zone(context.tz)
    if _is_date(moment) != _is_date(other):
        return moment_span(moment, context).last_ms < moment_span(other, context).first_ms
    return _is_before(moment, other, tz)


def minus(instant_ms: int, duration: Duration, tz: zoneinfo.ZoneInfo) -> int:
    """instant - duration: hours and days by elapsed time, months and years by the local calendar, day clamped."""
    if duration.unit in _FIXED_MS:
        return instant_ms - fixed_ms(duration)
    clock = zone_clock(tz, instant_ms, instant_ms)
    wall = int(clock.to_walls(np.array([instant_ms]))[0])
    day = _add_months(wall // DAY_MS, -duration.amount * (12 if duration.unit == "y" else 1))
    return _instant_ms(day * DAY_MS + wall % DAY_MS, tz)


def today(context: Context) -> int:
    """The local day of T, counted from 1970-01-01."""
    return int(zone_clock(zone(context.tz), context.as_of_ms, context.as_of_ms).days(np.array([context.as_of_ms]))[0])


def day_start_ms(day: int, tz: zoneinfo.ZoneInfo) -> int:
    """Epoch milliseconds of the first instant of a local day, which is counted from 1970-01-01."""
    return int(zone_clock(tz, day * DAY_MS, day * DAY_MS).day_starts(np.array([day]))[0])


def shift_day(day: int, duration: Duration, sign: int) -> int:
    """A day some days, weeks, months or years later (or with sign -1 earlier), the day of the month clamped."""
    return _shift(day, _CALENDAR_UNIT[duration.unit], sign * duration.amount)


def is_calendar(duration: Duration) -> bool:
    """Tests whether a duration counts local days or longer units, not elapsed time."""
    return duration.unit in _CALENDAR_UNIT


def complete_periods(unit: str, count: int, context: Context) -> tuple[int, ...]:
    """First instants of the `count` calendar units before the current one, oldest first, and of the current one."""
    tz, current = zone(context.tz), _unit_start(today(context), unit)
    return tuple(day_start_ms(_shift(current, unit, -back), tz) for back in range(count, -1, -1))


def shown_interval(window: Window, context: Context) -> Interval:
    """The interval of a report's window; one that differs from user to user has no beginning and ends at T."""
    return resolve(Always() if isinstance(window, WithinFirst | Since) else window, context)


def resolve(window: Window, context: Context) -> Interval:
    """The interval of a window at the context's instant; QueryInvalid if it ends before it starts."""
    if isinstance(window, WithinFirst | Since):
        form = "within: .., of_first: .." if isinstance(window, WithinFirst) else "since: .."
        raise QueryInvalid(f"{form} is another window for each user; it stands where events are counted")
    first, last = _bounds(window, context.as_of_ms, zone(context.tz))
    return Interval(max(first, TIME_MIN_MS), min(last, context.as_of_ms))


def _bounds(window: FixedWindow, now: int, tz: zoneinfo.ZoneInfo) -> tuple[int, int]:
    match window:
        case Always():
            return TIME_MIN_MS, now
        case FromTo(start, end):
            return _from_to(start, end, tz)
        case Before(moment):
            return TIME_MIN_MS, _first_ms(moment, tz) - 1
        case After(moment):
            return _end_ms(moment, tz) + (not _is_date(moment)), TIME_MAX_MS
        case Last(duration):
            return minus(now, duration, tz) + 1, now
        case MoreThanAgo(duration):
            return TIME_MIN_MS, minus(now, duration, tz)
        case Ago(near, far):
            first, last = minus(now, far, tz) + 1, minus(now, near, tz)
            if last < first:
                raise QueryInvalid(f"ago: {near}..{far} is empty; write the nearer end first, as in ago: 30d..60d")
            return first, last
        case _:
            return _calendar_bounds(window, now, tz)


def _calendar_bounds(
    window: LastCalendar | DaysAgo | This | Previous, now: int, tz: zoneinfo.ZoneInfo
) -> tuple[int, int]:
    today = int(zone_clock(tz, now, now).days(np.array([now]))[0])
    match window:
        case LastCalendar(duration):
            unit = _CALENDAR_UNIT.get(duration.unit)
            if unit is None:
                raise QueryInvalid(f"last_calendar takes days, weeks, months or years, not {duration}")
            return day_start_ms(_shift(_unit_start(today, unit), unit, -duration.amount), tz), now
        case DaysAgo(days):
            day = _shift(today, "day", -days)
            return day_start_ms(day, tz), day_start_ms(day + 1, tz) - 1
        case This(unit):
            return day_start_ms(_unit_start(today, unit), tz), now
        case Previous(unit):
            current = _unit_start(today, unit)
            return day_start_ms(_shift(current, unit, -1), tz), day_start_ms(current, tz) - 1


def _from_to(start: Moment, end: Moment, tz: zoneinfo.ZoneInfo) -> tuple[int, int]:
    if _is_before(end, start, tz):
        raise QueryInvalid(f"the window ends before it starts: from {start.iso} to {end.iso}")
    return _first_ms(start, tz), _end_ms(end, tz) - 1


def _is_before(moment: Moment, other: Moment, tz: zoneinfo.ZoneInfo) -> bool:
    first_ms, other_ms = _first_ms(moment, tz), _first_ms(other, tz)
    if _is_date(moment) and _is_date(other):
        # A date that the zone skipped begins with the next one.
        return moment.iso < other.iso
    # Not by the clock on the wall, which jumps.
    return first_ms < other_ms


def _is_date(moment: Moment) -> bool:
    return len(moment.iso) == _DATE_CHARACTERS


def _first_ms(moment: Moment, tz: zoneinfo.ZoneInfo) -> int:
    """The instant, or the first one of a date."""
    try:
        written = datetime.fromisoformat(moment.iso)
    except ValueError as error:
        raise QueryInvalid(f"{moment.iso!r} is no date or time: {error}") from error
    if _is_date(moment):
        return day_start_ms(_day_of(written), tz)
    return to_ms(written) if written.tzinfo else _instant_ms(to_ms(written.replace(tzinfo=UTC)), tz)


def _end_ms(moment: Moment, tz: zoneinfo.ZoneInfo) -> int:
    """The instant, or the first one after a date."""
    if not _is_date(moment):
        return _first_ms(moment, tz)
    _first_ms(moment, tz)  # refuses anything but a date
    return day_start_ms(_day_of(datetime.fromisoformat(moment.iso)) + 1, tz)


def _instant_ms(wall: int, tz: zoneinfo.ZoneInfo) -> int:
    return int(zone_clock(tz, wall, wall).to_instants(np.array([wall]))[0])


def _day_of(written: datetime) -> int:
    return written.toordinal() - EPOCH.toordinal()


def _unit_start(day: int, unit: str) -> int:
    match unit:
        case "week":
            return day - (day + _EPOCH_TO_MONDAY_DAYS) % 7
        case "month":
            return _days_of_month(_month_of(day))[0]
        case "year":
            return _days_of_month(_month_of(day) // 12 * 12)[0]
    return day


def _shift(day: int, unit: str, by: int) -> int:
    """The day so many units later, also one beyond the calendar: nothing happens there."""
    if unit in _UNIT_DAYS:
        if abs(by) * _UNIT_DAYS[unit] > _CALENDAR_DAYS:
            raise _beyond_the_calendar(f"{abs(by)} {unit}s")
        return day + by * _UNIT_DAYS[unit]
    return _add_months(day, by if unit == "month" else 12 * by)


def _add_months(day: int, months: int) -> int:
    if abs(months) > _CALENDAR_MONTHS:
        raise _beyond_the_calendar(f"{abs(months)} months")
    start, length = _days_of_month(_month_of(day) + months)
    return start + min(day - _days_of_month(_month_of(day))[0], length - 1)


def _month_of(day: int) -> int:
    """Months since January 1970."""
    return int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64))


def _days_of_month(month: int) -> tuple[int, int]:
    """(first day, number of days) of a month."""
    start, end = np.array([month, month + 1], "datetime64[M]").astype("datetime64[D]").astype(np.int64).tolist()
    return start, end - start


def _beyond_the_calendar(what: str) -> QueryInvalid:
    return QueryInvalid(f"{what}: so much time reaches beyond the calendar (years 1 to 9999) from any day")
