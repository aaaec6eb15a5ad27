"""Layout of a name's events in chunks: a dense bucket has its own chunk, sparse neighbours share a wide one.

A chunk costs some kilobytes whatever it holds, a wide one four more bytes an event (times of 64 bits): so the number of
chunks follows the data and not names x buckets. A column has a slot for every event of its chunk. So events with many
properties, each rarely set, share no chunk with many others, and memory follows the data there too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cdp_store.arrays import I64
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.kernels import sealing
from cdp_store.limits import (
    BUCKET_MS,
    CHUNK_SLOT_BYTES,
    SLOT_BYTES_PER_VALUE,
    SPARSE_BUCKET_EVENTS,
    WIDE_CHUNK_EVENTS_MAX,
)

Chunks = tuple[EventChunk, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Events cut into spans of buckets: `order` (None = as they are) groups them, `parts` are the spans."""

    order: I64 | None
    parts: tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A bucket of fewer than `sparse_events` shares its chunk with neighbours, up to `wide_events_max` in all.

    The slots of a chunk's columns take at most `slot_bytes`, and `slot_bytes_per_value` more for each value.
    """

    sparse_events: int
    wide_events_max: int
    slot_bytes: int = CHUNK_SLOT_BYTES
    slot_bytes_per_value: int = SLOT_BYTES_PER_VALUE

    def fits(self, slot_bytes: int, values: int) -> bool:
        """True if columns with so many bytes of slots, for so many values, may belong to one chunk."""
        return slot_bytes <= self.slot_bytes + self.slot_bytes_per_value * values

    def cut(self, times: I64) -> Cut:
        """Spans of buckets, oldest first, for events with these times; stable inside each span."""
        count = times.shape[0]
        low, high = (int(times.min()) // BUCKET_MS, int(times.max()) // BUCKET_MS) if count else (0, 0)
        if low == high:
            return Cut(None, (slice(0, count),) if count else ())
        per_bucket: I64 = np.zeros(high - low + 1, np.int64)
        sealing.count_by_bucket(times, BUCKET_MS, low, per_bucket)
        spans = self._span_of_bucket(per_bucket)
        sizes: I64 = np.bincount(spans, per_bucket).astype(np.int64)
        if sizes.shape[0] == 1:
            return Cut(None, (slice(0, count),))
        stops = np.cumsum(sizes)
        order: I64 = np.empty(count, np.int64)
        sealing.order_by_span(times, BUCKET_MS, low, spans, stops - sizes, order)
        return Cut(order, tuple(map(slice, (stops - sizes).tolist(), stops.tolist())))

    def due(self, chunks: Sequence[EventChunk], least: int, growth: int = 0) -> Iterator[Chunks]:
        """Sets of at least `least` chunks of one name that belong together, each in order of arrival, as `chunks` is.

        Chunks that overlap in buckets form a group; sparse groups join their neighbours. A set whose columns would not
        fit is split into neighbours. So a chunk that is left out shares no bucket with those of the set, or comes
        before or after all of them.

        With `growth`, smaller sets are due too: the newest chunks of a group that share buckets, from the first one on
        that has less than `growth` times the events of all after it. So sizes stay apart by that factor, and an event
        is merged some times for each such step, not at each seal.
        """
        run, size = list[int](), 0
        for group in _overlapping(chunks):
            events = sum(len(chunks[index]) for index in group)
            sparse = events < self.sparse_events
            if not sparse or size + events > self.wide_events_max:
                yield from self._crowded(chunks, run, least, growth)
                run, size = [], 0
            if sparse:
                run, size = run + group, size + events
            else:
                yield from self._crowded(chunks, group, least, growth)
        yield from self._crowded(chunks, run, least, growth)

    def _crowded(self, chunks: Sequence[EventChunk], members: list[int], least: int, growth: int) -> Iterator[Chunks]:
        if not members or len(members) < least:
            if growth:
                yield from self._outgrown([chunks[index] for index in sorted(members)], growth)
            return
        for run in self._fitting([chunks[index] for index in sorted(members)]):
            if len(run) == len(members):
                yield tuple(run)
            elif len(run) >= least:
                # A chunk that does not fit may have held them together: merging them as they are would never end.
                yield from self.due(run, least)

    def _outgrown(self, chunks: Sequence[EventChunk], growth: int) -> Iterator[Chunks]:
        first, newer = len(chunks), 0
        while first and (first == len(chunks) or len(chunks[first - 1]) < growth * newer):
            first -= 1
            newer += len(chunks[first])
        newest = chunks[first:]
        for group in _overlapping(newest):
            sources = [newest[index] for index in sorted(group)]
            # Those that share no bucket would be cut as they are, again and again.
            if len(sources) > 1 and len(list(self._fitting(sources))) == 1:
                yield tuple(sources)

    def _fitting(self, chunks: Sequence[EventChunk]) -> Iterator[list[EventChunk]]:
        """The chunks as runs of neighbours whose columns fit one chunk."""
        run, slots = list[EventChunk](), _Slots()
        for chunk in chunks:
            wider = slots.with_columns_of(chunk)
            if run and not self.fits(wider.nbytes, wider.values):
                yield run
                run, wider = [], _Slots().with_columns_of(chunk)
            run.append(chunk)
            slots = wider
        if run:
            yield run

    def _span_of_bucket(self, counts: I64) -> I64:
        """Number of the span of each bucket, given the number of events in each."""
        spans: I64 = np.zeros(counts.shape[0], np.int64)
        span, size = -1, self.wide_events_max
        for bucket in np.flatnonzero(counts).tolist():
            events = int(counts[bucket])
            sparse = events < self.sparse_events
            if not sparse or size + events > self.wide_events_max:
                span, size = span + 1, 0
            size = size + events if sparse else self.wide_events_max
            spans[bucket] = span
        return spans


@dataclass(frozen=True, slots=True)
class _Slots:
    """Sums over some chunks: events, values, and the bytes of one slot of each column."""

    events: int = 0
    values: int = 0
    widths: Mapping[ColumnKey, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.events * sum(self.widths.values())

    def with_columns_of(self, chunk: EventChunk) -> _Slots:
        widths, values = dict(self.widths), self.values
        for key, column in chunk.columns.items():
            widths[key] = max(widths.get(key, 0), column.values.dtype.itemsize)
            values += len(chunk) if column.present is None else int(np.bitwise_count(column.present).sum())
        return _Slots(self.events + len(chunk), values, widths)


LAYOUT: Final = Layout(SPARSE_BUCKET_EVENTS, WIDE_CHUNK_EVENTS_MAX)


def _overlapping(chunks: Sequence[EventChunk]) -> Iterator[list[int]]:
    """Indexes of chunks that share buckets, directly or through others; groups ascend by bucket."""
    group, last = list[int](), 0
    for index in sorted(range(len(chunks)), key=lambda index: chunks[index].bucket):
        if group and chunks[index].bucket > last:
            yield group
            group = []
        last = max(last, chunks[index].last_bucket) if group else chunks[index].last_bucket
        group.append(index)
    if group:
        yield group
