"""Conditions on times by the local calendar: within the last or next days, older than, and anniversaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from cdp_query.calendar.windows import Interval, day_start_ms, fixed_ms, is_calendar, shift_day, today, zone
from cdp_query.calendar.zone_clock import zone_clock_of
from cdp_query.errors import QueryInvalid
from cdp_query.tree import Anniversary, Context, Duration, Side, TimeTest
from cdp_store.arrays import I64, AnyArray, Bools
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS

_YEAR_DAYS: Final = 366
_FEBRUARY: Final = 31
_DAYS: Final = {"d": 1, "w": 7}


def time_test_span(test: TimeTest, context: Context) -> Interval:
    """The instants of a time test: whole local days if the span counts days or longer, else elapsed time."""
    if not is_calendar(test.span):
        return _elapsed(test, context.as_of_ms)
    tz, now = zone(context.tz), today(context)
    match test.side:
        case Side.LAST:
            first, last = shift_day(now, test.span, -1), now
        case Side.NEXT:
            first, last = now, shift_day(now, test.span, 1)
        case Side.OLDER:
            return Interval(TIME_MIN_MS, day_start_ms(shift_day(now, test.span, -1), tz) - 1)
    return Interval(day_start_ms(first, tz), day_start_ms(last + 1, tz) - 1)


def _elapsed(test: TimeTest, now_ms: int) -> Interval:
    span = fixed_ms(test.span)
    match test.side:
        case Side.LAST:
            return Interval(now_ms - span + 1, now_ms)
        case Side.NEXT:
            return Interval(now_ms + 1, min(now_ms + span, TIME_MAX_MS))
    return Interval(TIME_MIN_MS, now_ms - span)


def anniversary_decision(test: Anniversary, context: Context) -> Callable[[I64], Bools]:
    """Test of times (epoch ms i64 in, bool out): their day of the year is one of the wanted days."""
    first, last = _bounds(test)
    first_day = today(context) + first
    dates = np.arange(first_day, first_day + last - first + 1).astype("datetime64[D]")
    wanted = np.zeros(12 * 31, np.bool_)
    wanted[_days_of_year(dates)] = True
    # In a year without 29 February the 28th stands for it too.
    is_last_of_february = (_days_of_year(dates) == _FEBRUARY + 27) & (_days_of_year(dates + 1) == 2 * 31)
    wanted[_FEBRUARY + 28] |= is_last_of_february.any()
    tz = zone(context.tz)

    def decide(times: I64) -> Bools:
        found: Bools = wanted[_days_of_year(zone_clock_of(tz, times).days(times).astype("datetime64[D]"))]
        return found

    return decide


def _days_of_year(dates: AnyArray) -> I64:
    """31 x month + day of the month, both from 0, of days datetime64[D]."""
    months = dates.astype("datetime64[M]")
    found: I64 = months.astype(np.int64) % 12 * 31 + (dates - months.astype("datetime64[D]")).astype(np.int64)
    return found


def _bounds(test: Anniversary) -> tuple[int, int]:
    first, last = _in_days(test.first), _in_days(test.last)
    if last < first:
        raise QueryInvalid(f"anniversary {test.first}..{test.last} is empty; write the nearer end first")
    fixed_ms(test.last)  # refuses what is longer than the calendar
    return first, min(last, first + _YEAR_DAYS)


def _in_days(duration: Duration) -> int:
    if duration.unit not in _DAYS:
        raise QueryInvalid(f"an anniversary is so many days or weeks away, not {duration}")
    return duration.amount * _DAYS[duration.unit]
