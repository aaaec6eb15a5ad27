"""The unsealed tail of a partition: events of all names in order of arrival, in append-only arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.events.chunk import EventChunk
from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.events.sealing import EventColumns, seal
from cdp_store.growable import Growable


@dataclass(frozen=True, slots=True)
class ArrivedEvents:
    """Events with resolved rows, names and codes: what is appended to a delta.

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
        """Add events; a handful of array copies, whatever the number of names and properties."""
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
        members = np.flatnonzero(self.names == name)
        starts = np.where(members > 0, self.ends[members - 1], 0) if members.size else members
        counts = self.ends[members] - starts
        firsts = np.cumsum(counts) - counts
        triples = np.repeat(starts - firsts, counts) + np.arange(int(counts.sum()))
        return EventColumns(
            self.rows[members],
            self.times[members],
            np.repeat(np.arange(members.size, dtype=np.uint32), counts),
            self.keys[triples],
            self.kinds[triples],
            self.raws[triples],
        )
