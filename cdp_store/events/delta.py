"""The unsealed tail of a partition: events of all names in order of arrival, in append-only arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.columns.growable import Growable
from cdp_store.events.chunk_sealing import EventColumns, seal
from cdp_store.events.delta_chunks import chunks_of_name, held_nbytes
from cdp_store.events.layout import LAYOUT, Chunks, Layout
from cdp_store.kernels import sealing

# A tail of so many events, or of an eighth of those before it, is sorted for itself at each question: that takes some
# microseconds, and the rest is sorted once for all questions until then.
_TAIL_EVENTS: Final = 4096
_TAIL_SHIFT: Final = 3
_COLUMNS: Final = ("_rows", "_names", "_times", "_ends", "_keys", "_kinds", "_raws")


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
        self.key_count = 0  # one more than the largest key
        # Sorted for questions, by name: (count, chunks of the name's events among so many first ones), and what one
        # reading has beyond them: (first, count, chunks of events first:count). Any thread may put others in their
        # place, since each says what it holds.
        self.sorted_names = dict[int, tuple[int, Chunks]]()
        self.sorted_tails = dict[int, tuple[int, int, Chunks]]()
        self._is_scanned = False  # a question has read its arrays as they are
        # A short delta may stay for long: snapshots know its chunks again, and write them once.
        self.sealed_names = dict[int, tuple[int, Chunks]]()

    def __len__(self) -> int:
        return self._rows.count

    @property
    def is_read(self) -> bool:
        """True if a question has read events of it."""
        return self._is_scanned or bool(self.sorted_names or self.sorted_tails)

    def note_scan(self) -> None:
        """Notes that a question reads its arrays as they are: it had better stay short."""
        self._is_scanned = True

    def append(self, events: ArrivedEvents) -> None:
        """Adds events; a handful of array copies, whatever the number of names and properties."""
        first_triple = self._keys.count
        # Before the events: whoever reads them finds it large enough.
        self.key_count = max(self.key_count, int(events.triple_keys.max(initial=0)) + 1)
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
        # It may well get as long: growing by doubling would copy everything once more.
        for name in _COLUMNS:
            setattr(rest, name, getattr(self, name).emptied())
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
        # Copied first: questions may sort more names meanwhile.
        kept = [chunks for _, chunks in (*tuple(self.sorted_names.values()), *tuple(self.sealed_names.values()))]
        kept += [chunks for _, _, chunks in tuple(self.sorted_tails.values())]
        return sum(part.nbytes for part in parts) + sum(held_nbytes(chunk) for chunks in kept for chunk in chunks)


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

    def chunks(self, name: int) -> Chunks:
        """The events of one name, sealed as the layout cuts them: for what keeps them."""
        known = self.delta.sealed_names.get(name)
        if known is not None and known[0] == len(self):
            return known[1]
        chunks = seal(self.columns(name), self.delta.layout)
        if len(self) <= _TAIL_EVENTS:
            self.delta.sealed_names[name] = len(self), chunks
        return chunks

    def pieces(self, name: int) -> Chunks:
        """The events of one name, in order of arrival, as few chunks for a question; they may share buckets.

        What was sorted for earlier questions is used again: the name's events among the first so many of the delta,
        and one tail. Only a tail that has grown long is sorted together with all before it.
        """
        delta, count = self.delta, len(self)
        sorted_count, chunks = delta.sorted_names.get(name, (0, ()))
        if sorted_count > count:
            return self._tail(name, 0)  # a view from before, held while later ones were asked
        if count - sorted_count <= max(_TAIL_EVENTS, sorted_count >> _TAIL_SHIFT):
            return (*chunks, *self._tail(name, sorted_count)) if count > sorted_count else chunks
        chunks = chunks_of_name(self, name, 0)
        delta.sorted_names[name] = count, chunks
        delta.sorted_tails.pop(name, None)
        return chunks

    def _tail(self, name: int, first: int) -> Chunks:
        known = self.delta.sorted_tails.get(name)
        if known is not None and known[:2] == (first, len(self)):
            return known[2]
        chunks = chunks_of_name(self, name, first)
        self.delta.sorted_tails[name] = first, len(self), chunks
        return chunks

    def columns(self, name: int, first: int = 0) -> EventColumns:
        """The events of one name from position `first` on, in order of arrival."""
        members: I64 = np.flatnonzero(self.names[first:] == name).astype(np.int64) + first
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
