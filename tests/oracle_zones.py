"""Local days from zoneinfo alone, instant by instant: the calendar that semantics.md, section 0, means.

A day begins with the first instant at which the clock on the wall shows its date or a later one, and lasts until the
next day begins. So a date that a zone skipped has no instant, and where the clock goes back over midnight the new day
goes on. Days are counted like date.toordinal and go on beyond the years 1 and 9999.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_ERA_MS = 146_097 * DAY_MS  # 400 years: dates, weekdays and the rules of zones repeat
_LOOK_BACK_HOURS = 27  # no clock was ever set back by more than a day


@lru_cache(maxsize=1 << 16)
def offset_ms(ts: int, tz: ZoneInfo) -> int:
    """Local time minus UTC; at the ends of the calendar that of the same day 400 years on or back."""
    while ts < -55_000_000_000_000:
        ts += _ERA_MS
    while ts > 250_000_000_000_000:
        ts -= _ERA_MS
    offset = (_EPOCH + timedelta(milliseconds=ts)).astimezone(tz).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)


def wall_ms(ts: int, tz: ZoneInfo) -> int:
    """What the clock on the wall shows, as milliseconds since 1970-01-01 00:00 on it."""
    return ts + offset_ms(ts, tz)


def wall_day(ts: int, tz: ZoneInfo) -> int:
    """The date on the wall."""
    return wall_ms(ts, tz) // DAY_MS + _EPOCH_ORDINAL


def clock_changes(first: int, last: int, tz: ZoneInfo) -> list[int]:
    """Instants in (first, last] at which the offset is another than before; changes less than an hour apart aside."""
    found = []
    for start in range(first, last, _HOUR_MS):
        low, high = start, min(start + _HOUR_MS, last)
        if offset_ms(low, tz) == offset_ms(high, tz):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset_ms(middle, tz) == offset_ms(low, tz) else (low, middle)
        found.append(high)
    return found


@lru_cache(maxsize=1 << 16)
def local_day(ts: int, tz: ZoneInfo) -> int:
    """The day an instant belongs to: the latest date that the wall has shown up to it."""
    before = ts - _LOOK_BACK_HOURS * _HOUR_MS
    changes = [] if offset_ms(before, tz) == offset_ms(ts, tz) else clock_changes(before, ts, tz)
    return max(wall_day(ts, tz), *(wall_day(change - 1, tz) for change in changes), -(1 << 60))


@lru_cache(maxsize=1 << 16)
def day_start(day: int, tz: ZoneInfo) -> int:
    """The first instant of a day, of the next one where the zone skipped it."""
    middle = (day - _EPOCH_ORDINAL) * DAY_MS
    low, high = middle - 2 * DAY_MS, middle + 2 * DAY_MS
    if offset_ms(low, tz) == offset_ms(high, tz):
        return middle - offset_ms(low, tz)
    while high - low > 1:
        between = (low + high) // 2
        low, high = (low, between) if local_day(between, tz) >= day else (between, high)
    return high
