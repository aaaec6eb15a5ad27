"""The unsealed tail of a partition: events of all names in order of arrival, in append-only arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.columns.growable import Growable
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import EventColumns, seal
from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.kernels import sealing


@dataclass(frozen=True, slots=True)
class ArrivedEvents:
    """Events with resolved rows, names and codes: the input of `append`.

    rows u32[n], names u16[n], times i64[n], property_counts u32[n]; triples key u16[m], kind u8[m], raw i64[m].
    """

    rows: U32
    names: U16
    times: I64
    property_counts: U32
    triple_keys: U16
    triple_kinds: U8
    triple_raws: I64


class EventDelta:
    """Growable columns of arrived events; `reading` gives a stable prefix of them."""

    def __init__(self, layout: Layout = LAYOUT) -> None:
        self.layout = layout
        self._rows = Growable(np.uint32)
        self._names = Growable(np.uint16)
        self._times = Growable(np.int64)
        self._ends = Growable(np.int64)
        self._keys = Growable(np.uint16)
        self._kinds = Growable(np.uint8)
        self._raws = Growable(np.int64)
        # Chunks sorted for a query, kept until more events arrive: name -> (event count, chunks).
        self.sorted_names = dict[int, tuple[int, tuple[EventChunk, ...]]]()

    def __len__(self) -> int:
        return self._rows.count

    def append(self, events: ArrivedEvents) -> None:
        """Adds events; a handful of array copies, whatever the number of names and properties."""
        first_triple = self._keys.count
        self._ends.extend(np.cumsum(events.property_counts, dtype=np.int64) + first_triple)
        self._keys.extend(events.triple_keys)
        self._kinds.extend(events.triple_kinds)
        self._raws.extend(events.triple_raws)
        self._names.extend(events.names)
        self._times.extend(events.times)
        self._rows.extend(events.rows)

    def reading(self) -> DeltaReading:
        """The events so far, unaffected by later appends."""
        return DeltaReading(
            self,
            self._rows.filled(),
            self._names.filled(),
            self._times.filled(),
            self._ends.filled(),
            self._keys.filled(),
            self._kinds.filled(),
            self._raws.filled(),
        )

    def tail(self, start: int) -> EventDelta:
        """A new delta holding the events from position `start` on."""
        reading = self.reading()
        rest = EventDelta(self.layout)
        if start < len(self):
            first = int(reading.ends[start - 1]) if start else 0
            ends = reading.ends[start:]
            counts = np.diff(ends, prepend=first).astype(np.uint32)
            rest.append(
                ArrivedEvents(
                    reading.rows[start:],
                    reading.names[start:],
                    reading.times[start:],
                    counts,
                    reading.keys[first:],
                    reading.kinds[first:],
                    reading.raws[first:],
                )
            )
        return rest

    @property
    def nbytes(self) -> int:
        parts = (self._rows, self._names, self._times, self._ends, self._keys, self._kinds, self._raws)
        return sum(part.nbytes for part in parts)


@dataclass(frozen=True, slots=True)
class DeltaReading:
    """A stable prefix of a delta; `ends[i]` closes the triples of event i."""

    delta: EventDelta
    rows: U32
    names: U16
    times: I64
    ends: I64
    keys: U16
    kinds: U8
    raws: I64

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def chunks(self, name: int) -> tuple[EventChunk, ...]:
        """The events of one name, sealed for this reading."""
        known = self.delta.sorted_names.get(name)
        if known is not None and known[0] == len(self):
            return known[1]
        chunks = seal(self.columns(name), self.delta.layout)
        self.delta.sorted_names[name] = (len(self), chunks)
        return chunks

    def columns(self, name: int) -> EventColumns:
        """The events of one name in order of arrival."""
        members: I64 = np.flatnonzero(self.names == name).astype(np.int64)
        parts = sealing.take_events(members, self.rows, self.times, self.ends, self.keys, self.kinds, self.raws)
        return EventColumns(*parts)

    def columns_by_name(self) -> Iterator[tuple[int, EventColumns]]:
        """(name, its events in order of arrival) for each name there is."""
        names = int(self.names.max()) + 1 if len(self) else 0
        starts: I64 = np.zeros(names + 1, np.int64)
        triple_starts: I64 = np.zeros(names + 1, np.int64)
        rows, times, events, keys, kinds, raws = sealing.split_by_name(
            self.names, self.rows, self.times, self.ends, self.keys, self.kinds, self.raws, starts, triple_starts
        )
        bounds = zip(pairwise(starts.tolist()), pairwise(triple_starts.tolist()), strict=True)
        for name, ((start, stop), (first, last)) in enumerate(bounds):
            if stop > start:
                own = slice(first, last)
                yield (
                    name,
                    EventColumns(rows[start:stop], times[start:stop], events[own], keys[own], kinds[own], raws[own]),
                )
