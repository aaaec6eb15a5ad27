"""Conditions on times by the local calendar: within the last or next days, older than, and anniversaries."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

import numpy as np

from cdp_query.errors import QueryInvalid
from cdp_query.local_time import local_ms
from cdp_query.tree import Anniversary, Context, Duration, Side, TimeTest
from cdp_query.windows import Interval, day_start_ms, fixed_ms, is_calendar, shift_date, today, zone
from cdp_store.arrays import I64, Bools
from cdp_store.limits import DAY_MS, TIME_MAX_MS, TIME_MIN_MS

_YEAR_DAYS: Final = 366
_DAYS: Final = {"d": 1, "w": 7}


def time_test_span(test: TimeTest, context: Context) -> Interval:
    """The instants of a time test: whole local days where the span counts days or longer, else elapsed time."""
    if not is_calendar(test.span):
        return _elapsed(test, context.as_of_ms)
    tz, now = zone(context.tz), today(context)
    match test.side:
        case Side.LAST:
            first, last = shift_date(now, test.span, -1), now
        case Side.NEXT:
            first, last = now, shift_date(now, test.span, 1)
        case Side.OLDER:
            return Interval(TIME_MIN_MS, day_start_ms(shift_date(now, test.span, -1), tz) - 1)
    return Interval(day_start_ms(first, tz), day_start_ms(last + timedelta(days=1), tz) - 1)


def _elapsed(test: TimeTest, now_ms: int) -> Interval:
    span = fixed_ms(test.span)
    match test.side:
        case Side.LAST:
            return Interval(now_ms - span + 1, now_ms)
        case Side.NEXT:
            return Interval(now_ms + 1, min(now_ms + span, TIME_MAX_MS))
    return Interval(TIME_MIN_MS, now_ms - span)


def anniversary_decision(test: Anniversary, context: Context) -> Callable[[I64], Bools]:
    """Per time (epoch ms i64 in, bool out), whether its day of the year is one of the days asked for."""
    days = _calendar_days(test, today(context))
    wanted = np.zeros(12 * 31, np.bool_)
    for day in days:
        wanted[(day.month - 1) * 31 + day.day - 1] = True
        if (day.month, day.day) == (2, 28) and not calendar.isleap(day.year):
            wanted[31 + 28] = True
    tz = zone(context.tz)

    def decide(times: I64) -> Bools:
        dates = (local_ms(times, tz) // DAY_MS).view("datetime64[D]")
        months = dates.astype("datetime64[M]")
        day_of_month = (dates - months.astype("datetime64[D]")).astype(np.int64)
        found: Bools = wanted[months.astype(np.int64) % 12 * 31 + day_of_month]
        return found

    return decide


def _calendar_days(test: Anniversary, now: date) -> list[date]:
    first, last = _in_days(test.first), _in_days(test.last)
    if last < first:
        raise QueryInvalid(f"anniversary {test.first}..{test.last} is empty; write the nearer end first")
    last = min(last, first + _YEAR_DAYS)
    start = shift_date(now, Duration(first, "d"), 1)
    shift_date(now, Duration(last + 1, "d"), 1)
    return [start + timedelta(days=day) for day in range(last - first + 1)]


def _in_days(duration: Duration) -> int:
    if duration.unit not in _DAYS:
        raise QueryInvalid(f"an anniversary is so many days or weeks away, not {duration}")
    return duration.amount * _DAYS[duration.unit]
