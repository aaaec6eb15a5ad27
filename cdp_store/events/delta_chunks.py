"""Events of one name in a delta as a chunk for questions: its index is made at once, each column at its first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from cdp_store.arrays import I64, U32, Bools
from cdp_store.columns.column import EventColumn, narrow
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.chunk_sealing import seal
from cdp_store.kernels import sealing
from cdp_store.limits import BUCKET_MS, MORSEL_BITS
from cdp_store.values import Kind

if TYPE_CHECKING:
    from cdp_store.events.delta import DeltaReading, EventDelta

_RAW_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class DeltaColumns(Mapping[ColumnKey, EventColumn]):
    """Columns of some events of a delta, each made when it is read; `given` are those that any of the events has."""

    delta: EventDelta  # not its arrays: outgrown ones would stay in memory for as long as this does
    events: U32
    given: tuple[ColumnKey, ...]
    made: dict[ColumnKey, EventColumn] = field(default_factory=dict)

    def __getitem__(self, key: ColumnKey) -> EventColumn:
        found = self.made.get(key)
        if found is None:
            if key not in self.given:
                raise KeyError(key)
            found = self.made[key] = self._column(*key)
        return found

    def __iter__(self) -> Iterator[ColumnKey]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)

    @property
    def nbytes(self) -> int:
        """Bytes of what is made so far."""
        return self.events.nbytes + sum(column.nbytes for column in tuple(self.made.values()))

    def _column(self, key: int, kind: Kind) -> EventColumn:
        held = self.delta.reading()
        raws: I64 = np.zeros(self.events.shape[0], np.int64)
        present: Bools = np.zeros(self.events.shape[0], np.bool_)
        count = sealing.fill_column(
            self.events, held.ends, held.keys, held.kinds, held.raws, key, int(kind), raws, present
        )
        return narrow(kind, raws, None if count == raws.shape[0] else present)


def chunks_of_name(reading: DeltaReading, name: int, first: int) -> tuple[EventChunk, ...]:
    """The events of a name from position `first` on, in one chunk whatever their times, if its columns fit."""
    delta, values = reading.delta, (reading.ends, reading.keys, reading.kinds)
    groups, triples, events, run_rows, run_starts, run_offsets, times, wide, first_ms, last_ms = sealing.sort_name(
        reading.names, reading.rows, reading.times, *values, delta.key_count, name, first, MORSEL_BITS, BUCKET_MS
    )
    if not events.shape[0]:
        return ()
    if not delta.layout.fits(events.shape[0] * groups.shape[0] * _RAW_BYTES, triples):
        return seal(reading.columns(name, first), delta.layout)
    bucket = first_ms // BUCKET_MS
    keys = tuple((group >> 3, Kind(group & 7)) for group in groups.tolist())
    return (
        EventChunk(
            bucket,
            bucket * BUCKET_MS,
            first_ms,
            last_ms,
            run_rows,
            run_starts,
            run_offsets,
            wide if wide.shape[0] else times,
            DeltaColumns(delta, events, keys),
        ),
    )


def held_nbytes(chunk: EventChunk) -> int:
    """Bytes of a chunk as it is, without making columns."""
    columns = chunk.columns
    made = columns.nbytes if isinstance(columns, DeltaColumns) else sum(each.nbytes for each in columns.values())
    return chunk.index_nbytes + chunk.times.nbytes + made
