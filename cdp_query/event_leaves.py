"""Predicates over events beyond counts and aggregates, evaluated: bool[row_count] each."""

from __future__ import annotations

import numpy as np

from cdp_query.bound import BoundCount, BoundOccurrence
from cdp_query.bound_event_tests import BoundEventTest, BoundRecency, BoundUserOccurrence
from cdp_query.event_tests import count_mask, occurrence_mask
from cdp_query.kernels import occurrence
from cdp_query.ranges import Range
from cdp_query.scan import scan
from cdp_query.stats import NodeStats
from cdp_query.tree import Occurrence, Op
from cdp_query.user_windows import anchored, row_window
from cdp_query.windows import Interval
from cdp_store.arrays import I64, Bools
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.view import PartitionView


def event_leaf_mask(view: PartitionView, node: BoundEventTest, stats: NodeStats) -> Bools:
    """Rows where the predicate holds."""
    match node:
        case BoundUserOccurrence():
            return _user_occurrence(view, node, stats)
        case BoundRecency():
            return _recency(view, node, stats)


def _user_occurrence(view: PartitionView, node: BoundUserOccurrence, stats: NodeStats) -> Bools:
    window = row_window(node.window, view, stats)
    is_first = node.occurrence is Occurrence.FIRST
    best: I64 = np.full(view.row_count, TIME_MAX_MS + 1 if is_first else TIME_MIN_MS - 1, np.int64)
    step = occurrence.first_time_by_row if is_first else occurrence.last_time_by_row
    for scanned in scan(view, node.events, Interval(TIME_MIN_MS, node.until_ms), stats):
        chunk = scanned.chunk
        step(chunk.rows, chunk.offsets, chunk.times, chunk.base_ms, scanned.mask_or_ones(), best)
    inside: Bools = (best >= window.first_ms) & (best <= window.last_ms)
    return inside


def _recency(view: PartitionView, node: BoundRecency, stats: NodeStats) -> Bools:
    """The last event lies before an instant iff none lies at it or later: old chunks need not be read."""
    events = anchored(node.events, view, stats)
    first, last, at = node.interval.first_ms, node.interval.last_ms, node.at_ms
    if node.op in (Op.EQ, Op.NE):
        exactly = Interval(max(first, at), min(last, at))
        mask = occurrence_mask(view, BoundOccurrence(node.id, Occurrence.LAST, events, exactly, last), stats)
        return ~mask if node.op is Op.NE else mask
    # Longer ago than a duration is before the instant that lies that far back.
    since = at if node.op in (Op.GT, Op.LE) else at + 1
    later = BoundCount(node.id, events, Interval(max(first, since), last), Range(low=1), False, False)
    done = count_mask(view, later, stats)
    return ~done if node.op in (Op.GT, Op.GE) else done
