"""Local dates of instants: the days of a time zone as a table of their first milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.calendar.windows import zone
from cdp_query.calendar.zone_clock import zone_clock, zone_clock_of
from cdp_store.arrays import I64
from cdp_store.values import EPOCH

_EPOCH_DAY: Final = EPOCH.date().toordinal()


@dataclass(frozen=True, slots=True)
class LocalDays:
    """Consecutive local days: day first_day + i lasts from starts[i] to starts[i + 1] - 1.

    starts i64[days + 1], epoch ms ascending, two alike if the zone skipped a day; first_day counts like
    date.toordinal.
    """

    starts: I64
    first_day: int


def local_days(tz: str, first_ms: int, last_ms: int) -> LocalDays:
    """The local days that cover the instants from first_ms to last_ms."""
    clock = zone_clock(zone(tz), first_ms, last_ms)
    first, last = clock.days(np.array([first_ms, last_ms])).tolist()
    return LocalDays(clock.day_starts(np.arange(first, last + 2)), first + _EPOCH_DAY)


def days_of(times: I64, tz: str) -> I64:
    """Local date of each instant, counted like date.toordinal: i64[n]."""
    return zone_clock_of(zone(tz), times).days(times) + _EPOCH_DAY
