"""Windows that differ from user to user: from a first event, or since a time in an attribute."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.attribute_scan import spans
from cdp_query.bound_events import BoundEvents, BoundFilter, FilterAll, FilterRowWindow, FilterUserWindow
from cdp_query.kernels import aggregate
from cdp_query.scan import scan
from cdp_query.stats import NodeStats
from cdp_query.windows import Interval
from cdp_store.arrays import I64
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import Kind
from cdp_store.view import PartitionView

_NEVER_MS: Final = TIME_MAX_MS + 1


def anchored(events: BoundEvents, view: PartitionView, stats: NodeStats) -> BoundEvents:
    """The same events with windows per user worked out for each row; without such a window, themselves."""
    match events.where:
        case FilterUserWindow() as window:
            where: BoundFilter = row_window(window, view, stats)
        case FilterAll(items) if any(isinstance(item, FilterUserWindow) for item in items):
            where = FilterAll(
                tuple(row_window(item, view, stats) if isinstance(item, FilterUserWindow) else item for item in items)
            )
        case _:
            return events
    return BoundEvents(events.names, where)


def row_window(window: FilterUserWindow, view: PartitionView, stats: NodeStats) -> FilterRowWindow:
    """First and last instant per row; the first lies behind the last where nothing qualifies."""
    if window.first_of is None:
        starts = _times_of_attribute(window, view)
    else:
        starts = _first_times(window.first_of, window.until_ms, view, stats)
    # No start is behind every end; a start near the end of the calendar must not run past it.
    ends: I64 = np.minimum(starts, _NEVER_MS - 1) + min(window.length_ms, TIME_MAX_MS - TIME_MIN_MS)
    return FilterRowWindow(starts, np.minimum(ends, window.until_ms))


def _first_times(events: BoundEvents, until_ms: int, view: PartitionView, stats: NodeStats) -> I64:
    first: I64 = np.full(view.row_count, _NEVER_MS, np.int64)
    for scanned in scan(view, events, Interval(TIME_MIN_MS, until_ms), stats):
        stats.bytes += scanned.chunk.times.nbytes
        aggregate.lowest(scanned.rows(), scanned.times(), first)
    return first


def _times_of_attribute(window: FilterUserWindow, view: PartitionView) -> I64:
    times: I64 = np.full(view.row_count, _NEVER_MS, np.int64)
    for span in spans(view, window.attribute, window.until_ms):
        values = span.values.get(Kind.TIME)
        if values is None:
            continue
        kinds = span.kinds[: values.shape[0]]
        chosen = np.flatnonzero(kinds == Kind.TIME)
        times[span.first_row + chosen] = values[chosen]
    return times
