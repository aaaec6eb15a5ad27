"""Numbers of distinct local dates and weeks with events of each user, and of dates in a row."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.local_days import days_of, local_days
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import days as kernels
from cdp_query.scan.timeline import groups, stretch
from cdp_query.stats import NodeStats
from cdp_store.arrays import I32, U32
from cdp_store.memory.view import PartitionView

_NO_DAY: Final = -(1 << 31)
_MONDAY: Final = 1  # the first day of date.toordinal, 0001-01-01


def days_by_row(view: PartitionView, events: BoundEvents, interval: Interval, tz: str, stats: NodeStats) -> U32:
    """Number of distinct local dates of the events in the interval: u32[row_count]."""
    days: U32 = np.zeros(view.row_count, np.uint32)
    last_day: I32 = np.full(view.row_count, _NO_DAY, np.int32)
    for group in groups(view, events, interval, stats):
        chunk = group[0].chunk
        # A chunk of many buckets, with times of 64 bits, is sparse: not worth a second form of the kernel.
        if len(group) == 1 and chunk.times.dtype == np.uint32:
            table = local_days(tz, chunk.first_ms, chunk.last_ms)
            index, mask = (chunk.run_rows, chunk.run_starts, chunk.run_offsets), group[0].mask_or_ones()
            local = table.starts, table.first_day
            kernels.count_days_of_runs(*index, chunk.times, chunk.base_ms, mask, *local, last_day, days)
        else:
            merged = stretch(group)
            kernels.count_days(merged.rows, days_of(merged.times, tz), last_day, days)
    return days


def weeks_by_row(view: PartitionView, events: BoundEvents, interval: Interval, tz: str, stats: NodeStats) -> U32:
    """Number of distinct weeks, from Monday, of the local dates of the events in the interval: u32[row_count]."""
    weeks: U32 = np.zeros(view.row_count, np.uint32)
    last_week: I32 = np.full(view.row_count, _NO_DAY, np.int32)
    for group in groups(view, events, interval, stats):
        merged = stretch(group)
        kernels.count_days(merged.rows, (days_of(merged.times, tz) - _MONDAY) // 7, last_week, weeks)
    return weeks


def streaks_by_row(view: PartitionView, events: BoundEvents, interval: Interval, tz: str, stats: NodeStats) -> U32:
    """Most consecutive local dates with events in the interval: u32[row_count]."""
    longest: U32 = np.zeros(view.row_count, np.uint32)
    running: U32 = np.zeros(view.row_count, np.uint32)
    last_day: I32 = np.full(view.row_count, _NO_DAY, np.int32)
    for group in groups(view, events, interval, stats):
        merged = stretch(group)
        kernels.longest_streaks(merged.rows, days_of(merged.times, tz), last_day, running, longest)
    return longest
