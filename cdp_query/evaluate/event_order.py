"""Predicates on the order of a user's events: the first, last and n-th, and their regularity."""

from __future__ import annotations

import numpy as np

from cdp_query.bind.bind_event_tests import BoundEdgeValue, BoundNth, BoundRegularly
from cdp_query.bind.bound_events import BoundFilter
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import ordinals
from cdp_query.scan.scan import filter_mask
from cdp_query.scan.timeline import Group, Stretch, groups, stretch
from cdp_query.stats import NodeStats
from cdp_query.tree import Edge
from cdp_store.arrays import I32, I64, U32, Bools
from cdp_store.memory.view import PartitionView


def edge_value_mask(view: PartitionView, node: BoundEdgeValue, stats: NodeStats) -> Bools:
    """Rows whose first (last) event passes the test."""
    mask: Bools = np.zeros(view.row_count, np.bool_)
    seen: Bools = np.zeros(view.row_count, np.bool_)
    for group in groups(view, node.events, node.interval, stats):
        events = stretch(group)
        is_edge: Bools = np.ones(events.rows.shape[0], np.bool_)
        other = events.rows[1:] != events.rows[:-1]
        if node.edge is Edge.FIRST:
            is_edge[1:] = other
            is_edge &= ~seen[events.rows]
        else:
            is_edge[:-1] = other
        at = np.flatnonzero(is_edge).astype(np.int64)
        mask[events.rows[at]] = _passed(view, group, events, at, node.test, stats)
        seen[events.rows] = True
    return mask


def nth_mask(view: PartitionView, node: BoundNth, stats: NodeStats) -> Bools:
    """Rows whose n-th event exists and passes the test."""
    mask: Bools = np.zeros(view.row_count, np.bool_)
    counts: U32 = np.zeros(view.row_count, np.uint32)
    for group in groups(view, node.events, node.interval, stats):
        events = stretch(group)
        hits: Bools = np.empty(events.rows.shape[0], np.bool_)
        ordinals.mark_nth(events.rows, node.number, counts, hits)
        at = np.flatnonzero(hits).astype(np.int64)
        mask[events.rows[at]] = True if node.test is None else _passed(view, group, events, at, node.test, stats)
    return mask


def regularly_mask(view: PartitionView, node: BoundRegularly, stats: NodeStats) -> Bools:
    """Rows with enough events in enough of the periods."""
    starts: I64 = np.array(node.starts_ms, np.int64)
    last_period: I32 = np.full(view.row_count, -1, np.int32)
    inside: U32 = np.zeros(view.row_count, np.uint32)
    full: U32 = np.zeros(view.row_count, np.uint32)
    for group in groups(view, node.events, Interval(int(starts[0]), int(starts[-1]) - 1), stats):
        events = stretch(group)
        periods: I64 = np.searchsorted(starts, events.times, "right").astype(np.int64)
        ordinals.count_full_periods(events.rows, periods, node.times, last_period, inside, full)
    enough: Bools = full >= node.periods
    return enough


def _passed(view: PartitionView, group: Group, events: Stretch, at: I64, test: BoundFilter, stats: NodeStats) -> Bools:
    """Mask of the events at these places of a stretch that pass a filter: bool[len(at)]."""
    passed: Bools = np.zeros(at.shape[0], np.bool_)
    for number, scanned in enumerate(group):
        mine = np.flatnonzero(events.sources[at] == number)
        if mine.size:
            passed[mine] = filter_mask(view, scanned.chunk, test, stats)[events.positions[at[mine]]]
    return passed
