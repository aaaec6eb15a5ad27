"""Local dates of instants: the days of a time zone as a table of their first milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, date
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from cdp_query.windows import day_start_ms, zone
from cdp_store.arrays import I64
from cdp_store.limits import DAY_MS
from cdp_store.values import EPOCH

# Instants near the ends of the calendar can lie beyond its local days; these stand for one more day on either side.
_BEFORE_ALL: Final = -(1 << 61)
_AFTER_ALL: Final = 1 << 61
_EPOCH_DAY: Final = EPOCH.date().toordinal()
_YEARS_KEPT: Final = 512
_YEARS_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class LocalDays:
    """Consecutive local days: day first_day + i lasts from starts[i] to starts[i + 1] - 1.

    starts i64[days + 1], epoch ms ascending; first_day counts like date.toordinal.
    """

    starts: I64
    first_day: int


def local_days(tz: str, first_ms: int, last_ms: int) -> LocalDays:
    """The local days that cover the instants from first_ms to last_ms."""
    if tz == "UTC":
        first, last = first_ms // DAY_MS, last_ms // DAY_MS
        return LocalDays(np.arange(first, last + 2, dtype=np.int64) * DAY_MS, first + _EPOCH_DAY)
    # A zone is less than a day away from UTC, so that a year more on either side is always enough.
    years = range(max(_year(first_ms) - 1, MINYEAR), min(_year(last_ms) + 1, MAXYEAR) + 1)
    ends = np.array([_BEFORE_ALL]), np.array([_AFTER_ALL])
    starts = np.concatenate([ends[0], *(_starts_of_year(tz, year) for year in years), ends[1]])
    first_day = date(years[0], 1, 1).toordinal() - 1
    low = int(np.searchsorted(starts, first_ms, "right")) - 1
    high = int(np.searchsorted(starts, last_ms, "right"))
    return LocalDays(starts[low : high + 1], first_day + low)


def days_of(times: I64, tz: str) -> I64:
    """Local date of each instant, counted like date.toordinal: i64[n]."""
    numbers: I64 = np.empty(times.shape[0], np.int64)
    for part in _by_years(times):
        inside = times[part]
        days = local_days(tz, int(inside.min()), int(inside.max()))
        numbers[part] = np.searchsorted(days.starts, inside, "right") - 1 + days.first_day
    return numbers


def _by_years(times: I64) -> Iterator[slice | I64]:
    """Positions whose times lie near each other: a stray event of the year 1 must not cost 2000 years of days."""
    if times.shape[0] == 0:
        return
    if _year(int(times.max())) - _year(int(times.min())) < _YEARS_AT_ONCE:
        yield slice(None)
        return
    years = times.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64)
    for year in np.unique(years):
        yield np.flatnonzero(years == year)


def _year(instant_ms: int) -> int:
    return int(np.datetime64(instant_ms, "ms").astype("datetime64[Y]").astype(np.int64)) + 1970


@lru_cache(maxsize=_YEARS_KEPT)
def _starts_of_year(tz: str, year: int) -> I64:
    """First instants of the days of a local year, epoch ms."""
    place, first = zone(tz), date(year, 1, 1).toordinal()
    starts = [_start(date.fromordinal(day), place) for day in range(first, date(year, 12, 31).toordinal() + 1)]
    table = np.array(starts, np.int64)
    table.setflags(write=False)
    return table


def _start(day: date, place: ZoneInfo) -> int:
    try:
        return day_start_ms(day, place)
    except OverflowError:
        # The first local day of the calendar may start before its first instant in UTC, the last after its last.
        return (day.toordinal() - _EPOCH_DAY) * DAY_MS
