"""Events of a partition that an event predicate selects: chunks are pruned by zones, filters become masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.bind.bound_events import (
    BoundEvents,
    BoundFilter,
    BoundProperty,
    FilterAll,
    FilterAny,
    FilterHours,
    FilterNot,
    FilterRowWindow,
    FilterUserWindow,
    FilterWeekdays,
)
from cdp_query.bind.bound_profiles import FilterDistance
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import runs
from cdp_query.matching.decided import decisions
from cdp_query.matching.masks import column_mask
from cdp_query.scan.distances import event_distance_mask
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.event_times import event_time_mask
from cdp_query.scan.narrowed import chunk_of
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView

_NO_MASK: Final[Bools] = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class Scanned:
    """A chunk and the mask of its events that count; None = all of them."""

    chunk: EventChunk
    mask: Bools | None

    def count(self) -> int:
        """Number of the events that count."""
        return len(self.chunk) if self.mask is None else int(np.count_nonzero(self.mask))

    def mask_or_ones(self) -> Bools:
        """The mask as an array."""
        return np.ones(len(self.chunk), np.bool_) if self.mask is None else self.mask

    def kernel_mask(self) -> Bools:
        """The mask in the form for kernels: empty if all events count."""
        return _NO_MASK if self.mask is None else self.mask

    def events(self) -> I64 | None:
        """Positions in the chunk of the events that count, ascending; None = all."""
        return None if self.mask is None else np.flatnonzero(self.mask)

    def rows(self) -> U32:
        """Row of each event that counts."""
        events, chunk = self.events(), self.chunk
        if events is None:
            return chunk.full_rows()
        rows: U32 = np.empty(events.shape[0], np.uint32)
        runs.rows_of_events(chunk.run_rows, chunk.run_starts, chunk.run_offsets, events, rows)
        return rows

    def times(self) -> I64:
        """Epoch milliseconds of each event that counts."""
        events, chunk = self.events(), self.chunk
        stored = chunk.times if events is None else chunk.times[events]
        return stored.astype(np.int64) + chunk.base_ms

    def where(self, extra: Bools | None) -> Scanned:
        """These events without those where `extra` is False."""
        if extra is None:
            return self
        return Scanned(self.chunk, extra if self.mask is None else self.mask & extra)


def overlapping(
    view: PartitionView, events: BoundEvents, interval: Interval, stats: NodeStats
) -> Iterator[tuple[EventChunk, bool]]:
    """(chunk, True if all of it lies in the interval) for every chunk that may have events there."""
    for name in events.names:
        for chunk in view.event_chunks(name):
            stats.chunks += 1
            if not interval.overlaps(chunk.first_ms, chunk.last_ms):
                stats.chunks_pruned += 1
                continue
            read = chunk_of(view, chunk)
            stats.events += len(read)
            stats.bytes += read.index_nbytes
            covered = interval.covers(chunk.first_ms, chunk.last_ms)
            if not covered:
                stats.bytes += read.times.nbytes
            if len(read):
                yield read, covered


def scan(view: PartitionView, events: BoundEvents, interval: Interval, stats: NodeStats) -> Iterator[Scanned]:
    """Chunks with events in the interval that pass the filter; inside a name in order of arrival."""
    note_dropped(view, events, interval, stats)
    for chunk, covered in overlapping(view, events, interval, stats):
        mask = None if covered else _in_interval(chunk, interval)
        if events.where is not None:
            passed = filter_mask(view, chunk, events.where, stats)
            mask = passed if mask is None else mask & passed
        if mask is None or mask.any():
            yield Scanned(chunk, mask)


def _in_interval(chunk: EventChunk, interval: Interval) -> Bools:
    """Mask of the events in the interval."""
    mask: Bools = np.ones(len(chunk), np.bool_)
    if interval.first_ms > chunk.first_ms:
        mask = chunk.times >= interval.first_ms - chunk.base_ms
    if interval.last_ms < chunk.last_ms:
        mask &= chunk.times <= interval.last_ms - chunk.base_ms
    return mask


def filter_mask(view: PartitionView, chunk: EventChunk, where: BoundFilter, stats: NodeStats) -> Bools:
    """Mask of the events of a chunk that pass a filter: bool[n]."""
    match where:
        case FilterAll(items):
            masks = (filter_mask(view, chunk, item, stats) for item in items)
            mask = next(masks, np.ones(len(chunk), np.bool_))
            for other in masks:
                mask &= other
            return mask
        case FilterAny(items):
            masks = (filter_mask(view, chunk, item, stats) for item in items)
            mask = next(masks, np.zeros(len(chunk), np.bool_))
            for other in masks:
                mask |= other
            return mask
        case FilterNot(item):
            return ~filter_mask(view, chunk, item, stats)
        case FilterDistance():
            return event_distance_mask(chunk, where, stats)
        case FilterRowWindow() | FilterHours() | FilterWeekdays():
            return event_time_mask(chunk, where, stats)
        case FilterUserWindow():
            raise AssertionError("a window per user is computed before events are scanned")
        case BoundProperty():
            return _property_mask(view, chunk, where, stats)


def _property_mask(view: PartitionView, chunk: EventChunk, test: BoundProperty, stats: NodeStats) -> Bools:
    codes = decisions(view, test.property, test.matcher, test.decided, stats)
    mask: Bools | None = None
    for kind, column in chunk.variants(test.property):
        presence = column.presence()
        if not test.matcher.decides(kind):
            stats.type_mismatch += len(chunk) if presence is None else int(presence.sum())
            continue
        stats.bytes += column.nbytes
        held = column_mask(column, test.matcher, codes)
        if presence is not None:
            held &= presence
        mask = held if mask is None else mask | held
    if mask is None:
        return np.full(len(chunk), test.matcher.negated)
    return ~mask if test.matcher.negated else mask
