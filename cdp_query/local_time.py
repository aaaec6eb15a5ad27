"""Instants to local time, whole arrays at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from cdp_store.arrays import I64
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import to_datetime, to_ms

_EPOCH_YEAR: Final = 1970
_YEARS_AT_ONCE: Final = 64  # up to here, looking at every year between is cheaper than finding those that occur
_DAY: Final = timedelta(days=1)


def local_ms(times: I64, tz: ZoneInfo) -> I64:
    """What the clocks of a zone show at each instant, as milliseconds since 1970-01-01 on that clock: i64[n]."""
    if tz.key == "UTC" or not times.size:
        return times
    changes = [change for year in _years(times) for change in offsets_of_year(tz, year)]
    starts: I64 = np.array([start for start, _ in changes], np.int64)
    offsets: I64 = np.array([offset for _, offset in changes], np.int64)
    local: I64 = times + offsets[np.searchsorted(starts, times, "right") - 1]
    return local


def _years(times: I64) -> list[int]:
    """UTC years in which the instants lie, perhaps a few between them as well."""
    bounds = np.array([times.min(), times.max()]).view("datetime64[ms]").astype("datetime64[Y]").astype(np.int64)
    if bounds[1] - bounds[0] < _YEARS_AT_ONCE:
        return list(range(int(bounds[0]) + _EPOCH_YEAR, int(bounds[1]) + _EPOCH_YEAR + 1))
    years = np.unique(times.view("datetime64[ms]").astype("datetime64[Y]")).astype(np.int64) + _EPOCH_YEAR
    found: list[int] = years.tolist()
    return found


@lru_cache(maxsize=4096)
def offsets_of_year(tz: ZoneInfo, year: int) -> tuple[tuple[int, int], ...]:
    """(from instant, offset in ms) of a UTC year, ascending; the first entry is the year's beginning."""
    at = datetime(year, 1, 1, tzinfo=UTC)
    end = datetime(year, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    offset = _offset_ms(at, tz)
    found = [(to_ms(at), offset)]
    while at < end:
        later = end if end - at < _DAY else at + _DAY
        changed = _offset_ms(later, tz)
        if changed != offset:
            found.append((_first_with_other_offset(to_ms(at), to_ms(later), tz), changed))
        at, offset = later, changed
    return tuple(found)


def _first_with_other_offset(before_ms: int, after_ms: int, tz: ZoneInfo) -> int:
    offset = _offset_ms(to_datetime(before_ms), tz)
    while after_ms - before_ms > 1:
        middle = (before_ms + after_ms) // 2
        if _offset_ms(to_datetime(middle), tz) == offset:
            before_ms = middle
        else:
            after_ms = middle
    return after_ms


def _offset_ms(instant: datetime, tz: ZoneInfo) -> int:
    """Offset of local time from UTC; none at the very ends of the calendar, where local time would leave it."""
    if not TIME_MIN_MS + 2 * 86_400_000 < to_ms(instant) < TIME_MAX_MS - 2 * 86_400_000:
        return 0
    offset = instant.astimezone(tz).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)
