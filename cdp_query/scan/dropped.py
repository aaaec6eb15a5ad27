"""Events that retention has dropped, as their summaries describe them; undecided answers are flagged.

A summary holds the number of a profile's dropped events of one name, and the times of the first and the last. A
window with both ends inside holds all of them. A window that neither end reaches holds none. A window with one end
inside holds some.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.stats import NodeStats
from cdp_store.arrays import U32, Bools
from cdp_store.events.retained import Summary
from cdp_store.memory.view import PartitionView


def note_dropped(view: PartitionView, events: BoundEvents, interval: Interval, stats: NodeStats) -> None:
    """Counts the profiles with dropped events that may lie in the interval: nothing else is known about them."""
    for summary in _reached(view, events, interval):
        stats.truncated += int(np.count_nonzero(_near(summary, interval)))


def count_dropped(view: PartitionView, events: BoundEvents, interval: Interval, counts: U32, stats: NodeStats) -> None:
    """Adds to counts (by row) the dropped events that lie in the interval, if the summaries decide it."""
    for summary in _reached(view, events, interval):
        inside = (summary.first_ms >= interval.first_ms) & (summary.last_ms <= interval.last_ms)
        counts[summary.rows[inside]] += summary.counts[inside].astype(np.uint32)
        stats.truncated += int(np.count_nonzero(_near(summary, interval) & ~inside))


def mark_dropped(view: PartitionView, events: BoundEvents, interval: Interval, seen: Bools, stats: NodeStats) -> None:
    """Marks the rows (by row) with a dropped event in the interval, if the summaries decide it."""
    for summary in _reached(view, events, interval):
        holds_first = (summary.first_ms >= interval.first_ms) & (summary.first_ms <= interval.last_ms)
        holds_last = (summary.last_ms >= interval.first_ms) & (summary.last_ms <= interval.last_ms)
        some = holds_first | holds_last
        seen[summary.rows[some]] = True
        stats.truncated += int(np.count_nonzero(_near(summary, interval) & ~some))


def _reached(view: PartitionView, events: BoundEvents, interval: Interval) -> Iterator[Summary]:
    for name in events.names:
        summary = view.summaries.get(name)
        if summary is not None and interval.first_ms < summary.cutoff_ms:
            yield summary


def _near(summary: Summary, interval: Interval) -> Bools:
    """Mask of the profiles whose dropped events do not all lie outside."""
    near: Bools = (summary.first_ms <= interval.last_ms) & (summary.last_ms >= interval.first_ms)
    return near
