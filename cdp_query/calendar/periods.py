"""Calendar periods as arrays: the edges of days, weeks and months in a zone, and months from one instant to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.calendar.windows import zone
from cdp_query.calendar.zone_clock import ZoneClock, zone_clock
from cdp_query.errors import QueryInvalid
from cdp_query.limits import PERIODS_SHOWN_MAX
from cdp_store.arrays import I32, I64
from cdp_store.limits import DAY_MS

_EPOCH_TO_MONDAY_DAYS: Final = 3  # 1970-01-01 was a Thursday
_BLOCKS_MAX: Final = 1 << 16
_BLOCK_BITS_MIN: Final = 22  # about 70 minutes: shorter than any period


@dataclass(frozen=True, slots=True)
class Periods:
    """Consecutive calendar periods: period p is [edges_ms[p], edges_ms[p + 1]), empty if the zone skipped a day.

    first_days i64[n] are their first dates, counted from 1970-01-01. `blocks` i32 gives, for every 2**block_bits ms
    since the first edge, the period at its start: a table that spares kernels a search per event. `even_ms` is the
    length of all periods, 0 if they differ.
    """

    edges_ms: I64
    first_days: I64
    blocks: I32
    block_bits: int
    even_ms: int

    def __len__(self) -> int:
        return int(self.edges_ms.shape[0]) - 1

    def index_of(self, instants: I64) -> I64:
        """Period of each instant, which must lie between the first and the last edge."""
        return np.searchsorted(self.edges_ms, instants, "right") - 1

    def labels(self) -> list[str]:
        """ISO dates of the first days."""
        return _iso_dates(self.first_days)


def zone_offsets(tz: str, first_ms: int, last_ms: int) -> ZoneClock:
    """The clock of a zone from a year before first_ms to a year after last_ms."""
    return zone_clock(zone(tz), first_ms, last_ms)


def check_shown(unit: str, first_ms: int, last_ms: int, tz: str) -> None:
    """Raises QueryInvalid if an answer would have a row for each of too many periods."""
    if 2 * (last_ms - first_ms) < PERIODS_SHOWN_MAX * DAY_MS:
        return  # no zone has had so many days of twelve hours
    days = zone_clock(zone(tz), first_ms, last_ms).days(np.array([first_ms, last_ms]))
    firsts = _first_days(unit, int(days[0]), int(days[1]))[:-1]
    if firsts.shape[0] > PERIODS_SHOWN_MAX:
        first, last = _iso_dates(firsts[[0, -1]])
        raise QueryInvalid(
            f"the answer would have {firsts.shape[0]:,} rows, a {unit} each from {first} to {last}, and at most"
            f" {PERIODS_SHOWN_MAX:,} are shown; give a window such as last: 90d, or a longer unit"
        )


def periods_over(unit: str, first_ms: int, last_ms: int, tz: str) -> Periods:
    """The calendar periods that hold the instants from first_ms to last_ms."""
    clock = zone_clock(zone(tz), first_ms, last_ms)
    first_day, last_day = clock.days(np.array([first_ms, last_ms])).tolist()
    days = _first_days(unit, first_day, last_day)
    edges = clock.day_starts(days)
    span, bits = int(edges[-1] - edges[0]), _BLOCK_BITS_MIN
    while span >> bits >= _BLOCKS_MAX:
        bits += 1
    starts = edges[0] + (np.arange((span >> bits) + 1, dtype=np.int64) << bits)
    lengths = np.diff(edges)
    even_ms = int(lengths[0]) if (lengths == lengths[0]).all() else 0
    return Periods(edges, days[:-1], (np.searchsorted(edges, starts, "right") - 1).astype(np.int32), bits, even_ms)


def _first_days(unit: str, first_day: int, last_day: int) -> I64:
    """First days of the periods from that of one day to that of another, and of the next period after them."""
    match unit:
        case "day":
            days: I64 = np.arange(first_day, last_day + 2, dtype=np.int64)
        case "week":
            monday = first_day - (first_day + _EPOCH_TO_MONDAY_DAYS) % 7
            days = np.arange(monday, last_day + 8, 7, dtype=np.int64)
            days = days[: int(np.searchsorted(days, last_day, "right")) + 1]
        case _:
            months = np.array([first_day, last_day], "datetime64[D]").astype("datetime64[M]")
            days = np.arange(months[0], months[1] + 2).astype("datetime64[D]").astype(np.int64)
    return days


def _iso_dates(days: I64) -> list[str]:
    dates: list[str] = np.datetime_as_string(days.astype("datetime64[D]")).tolist()
    return dates


def months_later(instants: I64, months: I64, offsets: ZoneClock) -> I64:
    """Each instant that many calendar months later at the same time of day, the day clamped to the month's length."""
    walls = offsets.to_walls(instants)
    days = (walls // DAY_MS).astype("datetime64[D]")
    starts = days.astype("datetime64[M]")
    targets = starts + months
    first_days = targets.astype("datetime64[D]")
    lengths = ((targets + 1).astype("datetime64[D]") - first_days).astype(np.int64)
    day = np.minimum((days - starts.astype("datetime64[D]")).astype(np.int64), lengths - 1)
    return offsets.to_instants((first_days.astype(np.int64) + day) * DAY_MS + walls % DAY_MS)


def months_between(earlier: I64, later: I64, offsets: ZoneClock) -> I64:
    """Whole calendar months from each instant to a later one."""
    walls = [(offsets.to_walls(part) // DAY_MS).astype("datetime64[D]") for part in (earlier, later)]
    started = (walls[1].astype("datetime64[M]") - walls[0].astype("datetime64[M]")).astype(np.int64)
    # The wall clock may have been set back between the two, so both neighbours are checked.
    started += months_later(earlier, started + 1, offsets) <= later
    started -= months_later(earlier, started, offsets) > later
    between: I64 = started
    return between
