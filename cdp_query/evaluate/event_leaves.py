"""Predicates over events beyond counts and aggregates, evaluated: bool[row_count] each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cdp_query.bind.bind_event_tests import (
    BoundEdgeValue,
    BoundEventTest,
    BoundMostly,
    BoundNth,
    BoundPhases,
    BoundRecency,
    BoundRegularly,
    BoundShare,
    BoundUserOccurrence,
)
from cdp_query.bind.bound_counts import BoundCount, BoundOccurrence
from cdp_query.calendar.windows import Interval
from cdp_query.evaluate.event_counts import count_mask, occurrence_mask
from cdp_query.evaluate.event_order import edge_value_mask, nth_mask, regularly_mask
from cdp_query.evaluate.event_shares import mostly_mask, share_mask
from cdp_query.kernels import aggregate
from cdp_query.matching.ranges import Range
from cdp_query.scan.scan import scan
from cdp_query.scan.user_windows import anchored, row_window
from cdp_query.stats import NodeStats
from cdp_query.tree import Occurrence, Op
from cdp_store.arrays import I64, Bools
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.view import PartitionView


def event_leaf_mask(view: PartitionView, node: BoundEventTest, stats: NodeStats) -> Bools:
    """Rows where the predicate holds."""
    match node:
        case BoundUserOccurrence():
            return _user_occurrence(view, node, stats)
        case BoundRecency():
            return _recency(view, node, stats)
    ready = replace(node, events=anchored(node.events, view, stats))
    match ready:
        case BoundEdgeValue():
            return edge_value_mask(view, ready, stats)
        case BoundNth():
            return nth_mask(view, ready, stats)
        case BoundMostly():
            return mostly_mask(view, ready, stats)
        case BoundShare():
            return share_mask(view, ready, stats)
        case BoundRegularly():
            return regularly_mask(view, ready, stats)
        case BoundPhases():
            return _phases(view, ready, stats)


def _phases(view: PartitionView, node: BoundPhases, stats: NodeStats) -> Bools:
    mask: Bools = np.ones(view.row_count, np.bool_)
    for interval, wanted in [*((one, True) for one in node.wanted), *((one, False) for one in node.unwanted)]:
        done = count_mask(view, BoundCount(node.id, node.events, interval, Range(low=1), False, False), stats)
        mask &= done if wanted else ~done
    return mask


def _user_occurrence(view: PartitionView, node: BoundUserOccurrence, stats: NodeStats) -> Bools:
    window = row_window(node.window, view, stats)
    is_first = node.occurrence is Occurrence.FIRST
    best: I64 = np.full(view.row_count, TIME_MAX_MS + 1 if is_first else TIME_MIN_MS - 1, np.int64)
    raise_or_lower = aggregate.lowest if is_first else aggregate.highest
    for scanned in scan(view, node.events, Interval(TIME_MIN_MS, node.until_ms), stats):
        raise_or_lower(scanned.rows(), scanned.times(), best)
    inside: Bools = (best >= window.first_ms) & (best <= window.last_ms)
    return inside


def _recency(view: PartitionView, node: BoundRecency, stats: NodeStats) -> Bools:
    """Rows whose last event lies before an instant, so that none lies at it or later: old chunks need not be read."""
    events = anchored(node.events, view, stats)
    first, last, at = node.interval.first_ms, node.interval.last_ms, node.at_ms
    if node.op in (Op.EQ, Op.NE):
        exactly = Interval(max(first, at), min(last, at))
        mask = occurrence_mask(view, BoundOccurrence(node.id, Occurrence.LAST, events, exactly, last), stats)
        return ~mask if node.op is Op.NE else mask
    # Longer ago than a duration means before the instant at that distance.
    since = at if node.op in (Op.GT, Op.LE) else at + 1
    later = BoundCount(node.id, events, Interval(max(first, since), last), Range(low=1), False, False)
    done = count_mask(view, later, stats)
    return ~done if node.op in (Op.GT, Op.GE) else done
