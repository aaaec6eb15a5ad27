"""The clocks of a zone over a span of time: walls, local days and their borders, whole arrays at once.

A local day begins with the first instant at which the wall clock shows its date or a later one, and lasts until the
next one begins. A skipped date has no instant. If the clock is set back over midnight, the new day continues.
Days are counted from 1970-01-01, also beyond the years 1 and 9999, so that nothing here can leave the calendar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from cdp_store.arrays import I64
from cdp_store.limits import DAY_MS
from cdp_store.values import to_datetime, to_ms

_EPOCH_YEAR: Final = 1970
_YEARS_AT_ONCE: Final = 64  # up to here, checking every year between is cheaper than finding those that occur
_DAY: Final = timedelta(days=1)
_FAR: Final = 1 << 61  # beyond every instant
# Before the first year no zone had changed its clocks yet; after the last one the rules of all repeat.
_FIRST_YEAR, _LAST_YEAR = 1800, 2500
_ERA_YEARS: Final = 400  # dates and weekdays repeat
_ERA_MS: Final = 146_097 * DAY_MS


@dataclass(frozen=True, slots=True)
class ZoneClock:
    """Stretches of one offset: from starts_ms i64[n] (instants, ascending) on the wall is offsets_ms i64[n] ahead.

    reached_ms i64[n + 1]: the latest wall time shown before each stretch, and after the last.
    """

    starts_ms: I64
    offsets_ms: I64
    reached_ms: I64

    def to_walls(self, instants: I64) -> I64:
        """Wall clock of epoch ms, as ms since 1970-01-01 00:00 on the wall."""
        return instants + self.offsets_ms[self._stretch(instants)]

    def to_instants(self, walls: I64) -> I64:
        """Epoch ms of a wall clock: the first of two; of a skipped one by the clock before (PEP 495)."""
        before, after = self.offsets_ms[:-1], self.offsets_ms[1:]
        changes = np.maximum.accumulate(self.starts_ms[1:] + np.maximum(before, after))
        return walls - self.offsets_ms[np.searchsorted(changes, walls, "right")]

    def days(self, instants: I64) -> I64:
        """Local day of epoch ms, counted from 1970-01-01."""
        if self._is_fixed:
            return (instants + self.offsets_ms) // DAY_MS
        stretch = self._stretch(instants)
        days: I64 = np.maximum(
            (instants + self.offsets_ms[stretch]) // DAY_MS, ((self.reached_ms - 1) // DAY_MS)[stretch]
        )
        return days

    def day_starts(self, days: I64) -> I64:
        """Epoch ms of the first instant of local days; a skipped one begins with the next."""
        walls = days * DAY_MS
        if self._is_fixed:
            return walls - self.offsets_ms
        stretch = np.searchsorted(self.reached_ms[1:], walls, "right")
        starts: I64 = np.maximum(walls - self.offsets_ms[stretch], np.where(stretch, self.starts_ms[stretch], -_FAR))
        return starts

    @property
    def _is_fixed(self) -> bool:
        """True if the offset never changes."""
        return bool(self.offsets_ms.shape[0] == 1)

    def _stretch(self, instants: I64) -> I64:
        return np.maximum(np.searchsorted(self.starts_ms, instants, "right") - 1, 0)


def zone_clock(tz: ZoneInfo, first_ms: int, last_ms: int) -> ZoneClock:
    """The clock of a zone from a year before first_ms to a year after last_ms."""
    if tz.key == "UTC":
        return _UTC
    first, last = _years(np.array([first_ms, last_ms])).tolist()
    return _of_years(tz, tuple(range(max(first - 1, min(last, _FIRST_YEAR) - 1), last + 2)))


def zone_clock_of(tz: ZoneInfo, instants: I64) -> ZoneClock:
    """The clock of a zone around some instants: a stray one of the year 1 does not cost 2000 years."""
    if not instants.size:
        return _UTC
    first_ms, last_ms = int(instants.min()), int(instants.max())
    first, last = _years(np.array([first_ms, last_ms]))
    if tz.key == "UTC" or last - first < _YEARS_AT_ONCE:
        return zone_clock(tz, first_ms, last_ms)
    years = np.unique(_years(instants))
    near = np.unique(years[:, None] + np.arange(-1, 2))
    return _of_years(tz, tuple(near.tolist()))


def _years(instants: I64) -> I64:
    """UTC years of instants."""
    return instants.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + _EPOCH_YEAR


@lru_cache(maxsize=1024)
def _of_years(tz: ZoneInfo, years: tuple[int, ...]) -> ZoneClock:
    changes = [change for year in years for change in _offsets_of_year(tz, year)]
    starts, offsets = np.array(changes, np.int64).T
    kept = np.append(True, offsets[1:] != offsets[:-1])
    return _clock(np.ascontiguousarray(starts[kept]), np.ascontiguousarray(offsets[kept]))


def _clock(starts: I64, offsets: I64) -> ZoneClock:
    ends = np.append(starts[1:] + offsets[:-1], _FAR)
    return ZoneClock(starts, offsets, np.append(-_FAR, np.maximum.accumulate(ends)))


_UTC: Final = _clock(np.zeros(1, np.int64), np.zeros(1, np.int64))


@lru_cache(maxsize=4096)
def _offsets_of_year(tz: ZoneInfo, year: int) -> tuple[tuple[int, int], ...]:
    """(from instant, offset in ms) of a UTC year, ascending; the first entry is the year's beginning."""
    if year < _FIRST_YEAR:
        start = int(np.datetime64(year - _EPOCH_YEAR, "Y").astype("datetime64[ms]").astype(np.int64))
        return ((start, _offset_ms(datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC), tz)),)
    eras = -(-max(year - _LAST_YEAR, 0) // _ERA_YEARS)
    if eras:
        alike = _offsets_of_year(tz, year - eras * _ERA_YEARS)
        return tuple((start + eras * _ERA_MS, offset) for start, offset in alike)
    return tuple(_changes(datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC), tz))


def _changes(start: datetime, end: datetime, tz: ZoneInfo) -> list[tuple[int, int]]:
    at, offset = start, _offset_ms(start, tz)
    found = [(to_ms(at), offset)]
    while at < end:
        later = at + _DAY
        changed = _offset_ms(later, tz)
        if changed != offset:
            found.append((_first_with_other_offset(to_ms(at), to_ms(later), tz), changed))
        at, offset = later, changed
    return found


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
    offset = instant.astimezone(tz).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)
