"""Windows that differ from user to user: from a first event, or since a time in an attribute."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from cdp_query.bind.bound_events import BoundEvents, BoundFilter, FilterAll, FilterRowWindow, FilterUserWindow
from cdp_query.calendar.windows import Interval
from cdp_query.calendar.written_times import written_times
from cdp_query.kernels import aggregate
from cdp_query.scan.attribute_scan import spans
from cdp_query.scan.scan import scan
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64
from cdp_store.columns.dictionary import as_arrow
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_NEVER_MS: Final = TIME_MAX_MS + 1


def anchored(events: BoundEvents, view: PartitionView, stats: NodeStats) -> BoundEvents:
    """The events with windows per user evaluated for each row; unchanged if there is no such window."""
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
    """First and last instant per row; the first comes after the last if nothing qualifies."""
    if window.first_of is None:
        starts = _times_of_attribute(window, view)
    else:
        starts = _first_times(window.first_of, window.until_ms, view, stats)
    # No start lies after every end; a start near the end of the calendar must not run past it.
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
    written: I64 | None = None
    for span in spans(view, window.attribute, window.until_ms):
        values = span.values.get(Kind.TIME)
        if values is not None:
            chosen = np.flatnonzero(span.kinds[: values.shape[0]] == Kind.TIME)
            times[span.first_row + chosen] = values[chosen]
        codes = span.values.get(Kind.STRING)
        if codes is not None:
            written = _written_times(window, view) if written is None else written
            chosen = np.flatnonzero(span.kinds[: codes.shape[0]] == Kind.STRING)
            times[span.first_row + chosen] = written[codes[chosen]]
    return times


def _written_times(window: FilterUserWindow, view: PartitionView) -> I64:
    """Times in the texts of the attribute, by code; never for other texts."""
    assert window.attribute is not None, "there are no texts under a name nobody knows"
    (texts,) = as_arrow(*view.string_arena(window.attribute, attribute=True)).chunks
    times, held = written_times(texts.view(pa.string() if texts.type == pa.binary() else pa.large_string()), window.tz)
    written: I64 = np.where(held, times, _NEVER_MS)
    return written
