"""Calendar periods as arrays: the edges of days, weeks and months in a zone, and months from one instant to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.local_time import offsets_of_year
from cdp_query.windows import zone
from cdp_store.arrays import I32, I64
from cdp_store.limits import DAY_MS
from cdp_store.values import to_datetime

_EPOCH_TO_MONDAY_DAYS: Final = 3  # 1970-01-01 was a Thursday
_BLOCKS_MAX: Final = 1 << 16
_BLOCK_BITS_MIN: Final = 22  # about 70 minutes: shorter than any period


@dataclass(frozen=True, slots=True)
class ZoneOffsets:
    """Offsets of a zone over a span: offsets_ms i64[n + 1], the one behind transitions_ms i64[n] (instants)."""

    transitions_ms: I64
    offsets_ms: I64

    def to_walls(self, instants: I64) -> I64:
        """Wall clock of epoch ms, as ms since 1970-01-01 00:00 on the wall."""
        return instants + self.offsets_ms[np.searchsorted(self.transitions_ms, instants, "right")]

    def to_instants(self, walls: I64) -> I64:
        """Epoch ms of a wall clock: the first of two, and by the clock before where a change left a gap (PEP 495)."""
        before, after = self.offsets_ms[:-1], self.offsets_ms[1:]
        changes = self.transitions_ms + np.maximum(before, after)
        return walls - self.offsets_ms[np.searchsorted(changes, walls, "right")]


def zone_offsets(tz: str, first_ms: int, last_ms: int) -> ZoneOffsets:
    """Offsets of a zone from a year before first_ms to a year after last_ms."""
    first_year, last_year = to_datetime(first_ms).year - 1, to_datetime(last_ms).year + 1
    years = range(max(first_year, 2), min(last_year, 9998) + 1)
    named = zone(tz)
    starts = [start for year in years for start in offsets_of_year(named, year)]
    instants, offsets = np.array(starts, np.int64).T
    return ZoneOffsets(instants[1:], offsets)


@dataclass(frozen=True, slots=True)
class Periods:
    """Consecutive calendar periods: period p is [edges_ms[p], edges_ms[p + 1]).

    `blocks` i32 gives, for every 2**block_bits ms since the first edge, the period at its start: a table that spares
    kernels a search per event.
    """

    edges_ms: I64
    blocks: I32
    block_bits: int

    def __len__(self) -> int:
        return int(self.edges_ms.shape[0]) - 1

    def index_of(self, instants: I64) -> I64:
        """Period of each instant, which must lie between the first and the last edge."""
        return np.searchsorted(self.edges_ms, instants, "right") - 1


def periods_over(unit: str, first_ms: int, last_ms: int, tz: str) -> Periods:
    """The calendar periods that hold the instants from first_ms to last_ms."""
    offsets = zone_offsets(tz, first_ms, last_ms)
    edges = _edges(unit, first_ms, last_ms, offsets)
    low, high = np.searchsorted(edges, (first_ms, last_ms), "right")
    edges = edges[low - 1 : high + 1]
    span, bits = int(edges[-1] - edges[0]), _BLOCK_BITS_MIN
    while span >> bits >= _BLOCKS_MAX:
        bits += 1
    starts = edges[0] + (np.arange((span >> bits) + 1, dtype=np.int64) << bits)
    return Periods(edges, (np.searchsorted(edges, starts, "right") - 1).astype(np.int32), bits)


def _edges(unit: str, first_ms: int, last_ms: int, offsets: ZoneOffsets) -> I64:
    """Period starts around the span, a period to spare on both sides, ascending."""
    first_day, last_day = (int(wall // DAY_MS) for wall in offsets.to_walls(np.array([first_ms, last_ms])))
    match unit:
        case "day":
            days: I64 = np.arange(first_day - 1, last_day + 3, dtype=np.int64)
        case "week":
            monday = first_day - (first_day + _EPOCH_TO_MONDAY_DAYS) % 7
            days = np.arange(monday - 7, last_day + 15, 7, dtype=np.int64)
        case _:
            months = np.array([first_day, last_day], "datetime64[D]").astype("datetime64[M]")
            starts = np.arange(months[0] - 1, months[1] + 3)
            days = starts.astype("datetime64[D]").astype(np.int64)
    return offsets.to_instants(days * DAY_MS)


def months_later(instants: I64, months: I64, offsets: ZoneOffsets) -> I64:
    """Each instant that many calendar months later at the same time of day, the day clamped to the month's length."""
    walls = offsets.to_walls(instants)
    days = (walls // DAY_MS).astype("datetime64[D]")
    starts = days.astype("datetime64[M]")
    targets = starts + months
    first_days = targets.astype("datetime64[D]")
    lengths = ((targets + 1).astype("datetime64[D]") - first_days).astype(np.int64)
    day = np.minimum((days - starts.astype("datetime64[D]")).astype(np.int64), lengths - 1)
    return offsets.to_instants((first_days.astype(np.int64) + day) * DAY_MS + walls % DAY_MS)


def months_between(earlier: I64, later: I64, offsets: ZoneOffsets) -> I64:
    """Whole calendar months from each instant to a later one."""
    walls = [(offsets.to_walls(part) // DAY_MS).astype("datetime64[D]") for part in (earlier, later)]
    started = (walls[1].astype("datetime64[M]") - walls[0].astype("datetime64[M]")).astype(np.int64)
    # The wall clock may have been set back between the two, so both neighbours are looked at.
    started += months_later(earlier, started + 1, offsets) <= later
    started -= months_later(earlier, started, offsets) > later
    between: I64 = started
    return between


def local_dates(instants: I64, tz: str) -> list[str]:
    """ISO dates of instants on the wall."""
    walls = zone_offsets(tz, int(instants.min()), int(instants.max())).to_walls(instants)
    dates: list[str] = np.datetime_as_string((walls // DAY_MS).astype("datetime64[D]")).tolist()
    return dates
