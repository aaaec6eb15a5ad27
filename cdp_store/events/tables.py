"""All events of a partition: sealed chunks per name and the delta, with sealing and compaction beside writes.

A caller that shares an `EventTables` between threads guards every method but `prepare_*` with its lock; the
`prepare_*` functions do the long work on immutable data and need none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from cdp_store.events.chunk import EventChunk
from cdp_store.events.delta import ArrivedEvents, DeltaReading, EventDelta
from cdp_store.events.sealing import compact, seal

Chunks = tuple[EventChunk, ...]


@dataclass(frozen=True, slots=True)
class EventsReading:
    """A stable reading of the tables."""

    sealed: Mapping[int, Chunks]
    delta: DeltaReading

    def chunks(self, name: int) -> Chunks:
        """Chunks of a name: buckets ascending, inside a bucket in order of arrival."""
        sealed, fresh = self.sealed.get(name, ()), self.delta.chunks(name) if len(self.delta) else ()
        return sealed if not fresh else tuple(sorted((*sealed, *fresh), key=_bucket))

    def names(self) -> list[int]:
        """Ids of the names that have events."""
        return sorted({*self.sealed, *(int(name) for name in np.unique(self.delta.names))})


@dataclass(frozen=True, slots=True)
class SealedDelta:
    """Result of sealing the first `event_count` events of a delta."""

    event_count: int
    chunks: Mapping[int, Chunks]


@dataclass(frozen=True, slots=True)
class CompactedBucket:
    """Result of merging `sources`, adjacent chunks of one name and bucket."""

    name: int
    sources: Chunks
    merged: EventChunk


class EventTables:
    """The mutable holder of immutable chunks."""

    def __init__(self) -> None:
        self._sealed = dict[int, Chunks]()
        self._delta = EventDelta()

    @property
    def delta_count(self) -> int:
        """Unsealed events."""
        return len(self._delta)

    def append(self, events: ArrivedEvents) -> None:
        """Add arrived events to the delta."""
        self._delta.append(events)

    def capture(self) -> EventsReading:
        """A reading that later writes, seals and compactions leave alone."""
        return EventsReading(self._sealed, self._delta.reading())

    def install_seal(self, sealed: SealedDelta) -> None:
        """Swap a sealed prefix of the delta for its chunks."""
        tables = dict(self._sealed)
        for name, chunks in sealed.chunks.items():
            tables[name] = tuple(sorted((*tables.get(name, ()), *chunks), key=_bucket))
        self._sealed = tables
        self._delta = self._delta.tail(sealed.event_count)

    def install_compaction(self, done: CompactedBucket) -> None:
        """Swap the source chunks for their merger."""
        gone = {id(chunk) for chunk in done.sources}
        kept = [chunk for chunk in self._sealed[done.name] if id(chunk) not in gone]
        # The merger takes the place of its sources: later arrivals of the bucket stay behind it.
        at = next((i for i, chunk in enumerate(kept) if chunk.bucket >= done.merged.bucket), len(kept))
        self._sealed = {**self._sealed, done.name: (*kept[:at], done.merged, *kept[at:])}

    def counts(self) -> tuple[int, int]:
        """(events, bytes) held."""
        chunks = [chunk for chunks in self._sealed.values() for chunk in chunks]
        events = sum(map(len, chunks)) + len(self._delta)
        return events, sum(chunk.nbytes for chunk in chunks) + self._delta.nbytes


def prepare_seal(reading: EventsReading) -> SealedDelta:
    """Sort the delta of a reading into chunks."""
    names = (int(name) for name in np.unique(reading.delta.names))
    return SealedDelta(len(reading.delta), {name: seal(reading.delta.columns(name)) for name in names})


def prepare_compactions(reading: EventsReading, least: int) -> Iterator[CompactedBucket]:
    """Merge every bucket of sealed chunks that holds at least `least` chunks."""
    for name, chunks in reading.sealed.items():
        for sources in _crowded(chunks, least):
            yield CompactedBucket(name, sources, compact(sources))


def _crowded(chunks: Sequence[EventChunk], least: int) -> Iterator[Chunks]:
    for _, group in groupby(chunks, key=_bucket):
        members = tuple(group)
        if len(members) >= least:
            yield members


def _bucket(chunk: EventChunk) -> int:
    return chunk.bucket
