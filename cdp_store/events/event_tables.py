"""All events of a partition: sealed chunks per name and the delta, with sealing and compaction alongside writes.

A caller that shares an `EventTables` between threads guards every method but `prepare_*` with its lock; the
`prepare_*` functions do the long work on immutable data and need none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import compact, seal
from cdp_store.events.delta import ArrivedEvents, DeltaReading, EventDelta
from cdp_store.events.layout import LAYOUT, Chunks, Layout
from cdp_store.events.retained import Summary, drop_before


@dataclass(frozen=True, slots=True)
class EventsReading:
    """A stable reading of the tables."""

    sealed: Mapping[int, Chunks]
    delta: DeltaReading

    def chunks(self, name: int) -> Chunks:
        """Chunks of a name as the layout cuts them, to be kept; those that share a bucket are in order of arrival."""
        sealed = self.sealed.get(name, ())
        return (*sealed, *self.delta.chunks(name)) if len(self.delta) else sealed

    def pieces(self, name: int) -> Chunks:
        """The same events for a question: of the delta as little as possible is sorted anew (`DeltaReading.pieces`)."""
        sealed = self.sealed.get(name, ())
        return (*sealed, *self.delta.pieces(name)) if len(self.delta) else sealed

    def names(self) -> list[int]:
        """Ids of the names that have events."""
        return sorted({*self.sealed, *(int(name) for name in np.unique(self.delta.names))})


@dataclass(frozen=True, slots=True)
class SealedDelta:
    """Result of sealing the first `event_count` events of a delta."""

    delta: EventDelta
    event_count: int
    chunks: Mapping[int, Chunks]


@dataclass(frozen=True, slots=True)
class Compacted:
    """Result of cutting `sources` again: chunks of one name that share no bucket with its other chunks."""

    name: int
    sources: Chunks
    merged: Chunks


class EventTables:
    """The mutable holder of immutable chunks."""

    def __init__(self, layout: Layout = LAYOUT, sealed: Mapping[int, Chunks] | None = None) -> None:
        self._sealed = dict(sealed or {})
        self._looked_through: tuple[Mapping[int, Chunks], int] | None = None
        self._delta = EventDelta(layout)
        self._is_read = False  # questions read the delta that was sealed last

    @property
    def is_read(self) -> bool:
        """True if questions read what arrives: sealing often and merging early is worth its work."""
        return self._is_read or self._delta.is_read

    @property
    def delta_count(self) -> int:
        """Unsealed events."""
        return len(self._delta)

    def append(self, events: ArrivedEvents) -> None:
        """Adds arrived events to the delta."""
        self._delta.append(events)

    def load(self, sealed: Mapping[int, Chunks]) -> None:
        """Replaces everything with these chunks by name, each name's in the order of `EventsReading.chunks`."""
        self._sealed, self._delta = dict(sealed), EventDelta(self._delta.layout)

    def capture(self) -> EventsReading:
        """A reading that later writes, seals and compactions leave alone."""
        return EventsReading(self._sealed, self._delta.reading())

    def nothing_due(self, least: int) -> bool:
        """True if it is known already that no chunks need merging: checking after each batch is expensive."""
        known = self._looked_through
        return known is not None and known[0] is self._sealed and known[1] <= least

    def note_nothing_due(self, reading: EventsReading, least: int) -> None:
        """Remembers that a reading had nothing to merge."""
        self._looked_through = reading.sealed, least

    def is_read_by(self, reading: EventsReading) -> bool:
        """True if a reading still shows everything."""
        delta, own = reading.delta, self._delta
        return reading.sealed is self._sealed and delta.delta is own and delta.rows.shape[0] == len(own)

    def install_seal(self, sealed: SealedDelta) -> None:
        """Swaps a sealed prefix of the delta for its chunks, unless that delta was sealed meanwhile."""
        if sealed.delta is not self._delta:
            return
        tables = dict(self._sealed)
        for name, chunks in sealed.chunks.items():
            tables[name] = (*tables.get(name, ()), *chunks)
        self._sealed = tables
        self._is_read = self._delta.is_read
        self._delta = self._delta.tail(sealed.event_count)

    def install_compaction(self, done: Compacted) -> None:
        """Swaps the source chunks for their merged ones, unless one of them was dropped."""
        held = self._sealed.get(done.name, ())
        gone = {id(chunk) for chunk in done.sources}
        if not gone <= {id(chunk) for chunk in held}:
            return
        chunks = list[EventChunk]()
        for chunk in held:
            if chunk is done.sources[0]:
                # In the place of the first source: later arrivals in these buckets stay after it.
                chunks.extend(done.merged)
            elif id(chunk) not in gone:
                chunks.append(chunk)
        self._sealed = {**self._sealed, done.name: tuple(chunks)}
        if not chunks:
            del self._sealed[done.name]

    def drop_before(self, name: int, cutoff_ms: int) -> Summary:
        """Drops the events of a name before an instant, the start of a bucket; returns their summary."""
        delta = self._delta.reading()
        if np.any((delta.names == name) & (delta.times < cutoff_ms)):
            self.install_seal(prepare_seal(self.capture()))
        kept, summary = drop_before(self._sealed.get(name, ()), cutoff_ms, self._delta.layout)
        self._sealed = {**self._sealed, name: kept}
        if not kept:
            del self._sealed[name]
        return summary

    def first_ms(self, name: int) -> int | None:
        """Time of the earliest event of a name, or None."""
        delta = self._delta.reading()
        times = delta.times[delta.names == name]
        bounds = [chunk.first_ms for chunk in self._sealed.get(name, ())]
        return min([*bounds, *([int(times.min())] if times.size else [])], default=None)

    def counts(self) -> tuple[int, int]:
        """(events, bytes) held."""
        chunks = [chunk for chunks in self._sealed.values() for chunk in chunks]
        events = sum(map(len, chunks)) + len(self._delta)
        return events, sum(chunk.nbytes for chunk in chunks) + self._delta.nbytes


def prepare_seal(reading: EventsReading) -> SealedDelta:
    """Sorts the delta of a reading into chunks."""
    delta = reading.delta
    layout = delta.delta.layout
    chunks = {name: seal(events, layout) for name, events in delta.columns_by_name()}
    return SealedDelta(delta.delta, len(delta), chunks)


def prepare_compactions(reading: EventsReading, least: int, growth: int = 0) -> Iterator[Compacted]:
    """Merges every set of at least `least` chunks that the layout groups together; `growth` as for `Layout.due`."""
    layout = reading.delta.delta.layout
    for name, chunks in reading.sealed.items():
        for sources in layout.due(chunks, least, growth):
            yield Compacted(name, sources, compact(sources, layout))
