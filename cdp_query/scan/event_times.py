"""Filters on the time of an event: inside its row's own window, at local hours, on local weekdays."""

from __future__ import annotations

import numpy as np

from cdp_query.bind.bound_events import FilterHours, FilterRowWindow, FilterWeekdays
from cdp_query.calendar.windows import zone
from cdp_query.calendar.zone_clock import zone_clock_of
from cdp_query.stats import NodeStats
from cdp_store.arrays import Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import DAY_MS

_HOUR_MS = 3_600_000


def event_time_mask(chunk: EventChunk, test: FilterRowWindow | FilterHours | FilterWeekdays, stats: NodeStats) -> Bools:
    """Mask of the events of a chunk whose time passes the test: bool[n]."""
    stats.bytes += chunk.times.nbytes
    times = chunk.full_times()
    if isinstance(test, FilterRowWindow):
        rows = chunk.full_rows()
        inside: Bools = (times >= test.first_ms[rows]) & (times <= test.last_ms[rows])
        return inside
    clock = zone_clock_of(zone(test.tz), times)
    if isinstance(test, FilterHours):
        wanted = np.isin(np.arange(24), list(test.hours))
        return wanted[clock.to_walls(times) % DAY_MS // _HOUR_MS]
    # The first day of 1970 was a Thursday.
    wanted = np.isin(np.arange(7) + 1, list(test.days))
    return wanted[(clock.days(times) + 3) % 7]
