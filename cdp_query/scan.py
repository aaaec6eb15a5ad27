"""Which events of a partition an event predicate speaks of: chunks pruned by zones, filters as masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cdp_query.bound_events import BoundEvents, BoundFilter, BoundProperty, FilterAll, FilterAny, FilterNot
from cdp_query.bound_profiles import FilterDistance
from cdp_query.distances import event_distance_mask
from cdp_query.masks import column_mask
from cdp_query.stats import NodeStats
from cdp_query.windows import Interval
from cdp_store.arrays import Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.view import PartitionView


@dataclass(frozen=True, slots=True)
class Scanned:
    """A chunk and which of its events count; mask None = all of them."""

    chunk: EventChunk
    mask: Bools | None

    def mask_or_ones(self) -> Bools:
        """The mask as an array."""
        return np.ones(len(self.chunk), np.bool_) if self.mask is None else self.mask


def scan(view: PartitionView, events: BoundEvents, interval: Interval, stats: NodeStats) -> Iterator[Scanned]:
    """Chunks with events in the interval that pass the filter."""
    for name in events.names:
        for chunk in view.event_chunks(name):
            stats.chunks += 1
            if not interval.overlaps(chunk.first_ms, chunk.last_ms):
                stats.chunks_pruned += 1
                continue
            stats.events += len(chunk)
            stats.bytes += chunk.rows.nbytes
            mask = _in_interval(chunk, interval, stats)
            if events.where is not None:
                passed = filter_mask(view, chunk, events.where, stats)
                mask = passed if mask is None else mask & passed
            if mask is None or mask.any():
                yield Scanned(chunk, mask)


def _in_interval(chunk: EventChunk, interval: Interval, stats: NodeStats) -> Bools | None:
    """Which events lie in the interval; None when the zone shows that all do, without reading times."""
    if interval.covers(chunk.first_ms, chunk.last_ms):
        return None
    stats.bytes += chunk.times.nbytes
    times, base = chunk.times, chunk.base_ms
    mask: Bools | None = None
    if interval.first_ms > chunk.first_ms:
        mask = times >= interval.first_ms - base
    if interval.last_ms < chunk.last_ms:
        ended: Bools = times <= interval.last_ms - base
        mask = ended if mask is None else mask & ended
    return mask


def filter_mask(view: PartitionView, chunk: EventChunk, where: BoundFilter, stats: NodeStats) -> Bools:
    """Which events of a chunk pass a filter: bool[n]."""
    match where:
        case FilterAll(items):
            mask: Bools = np.ones(len(chunk), np.bool_)
            for item in items:
                mask &= filter_mask(view, chunk, item, stats)
            return mask
        case FilterAny(items):
            mask = np.zeros(len(chunk), np.bool_)
            for item in items:
                mask |= filter_mask(view, chunk, item, stats)
            return mask
        case FilterNot(item):
            return ~filter_mask(view, chunk, item, stats)
        case FilterDistance():
            return event_distance_mask(chunk, where, stats)
        case BoundProperty():
            return _property_mask(view, chunk, where, stats)


def _property_mask(view: PartitionView, chunk: EventChunk, test: BoundProperty, stats: NodeStats) -> Bools:
    mask: Bools = np.zeros(len(chunk), np.bool_)
    for (key, kind), column in chunk.columns.items():
        if key != test.property:
            continue
        presence = column.presence()
        if not test.matcher.decides(kind):
            stats.type_mismatch += len(chunk) if presence is None else int(presence.sum())
            continue
        stats.bytes += column.nbytes
        held = column_mask(view, key, column, test.matcher)
        mask |= held if presence is None else held & presence
    return ~mask if test.matcher.negated else mask
