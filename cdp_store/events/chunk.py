"""A sealed chunk: the immutable events of one name in one bucket, or in several sparse ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from cdp_store.arrays import I64, U16, U32, AnyArray
from cdp_store.columns.column import EventColumn
from cdp_store.kernels.sealing import addresses_of
from cdp_store.limits import BUCKET_MS, MORSEL_BITS
from cdp_store.values import Kind

ColumnKey = tuple[int, Kind]  # (property id, kind)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class EventChunk:
    """Events sorted by (row, time), stable in arrival; the events of one row are a run.

    run_rows    u16[r], row of each run inside its morsel
    run_starts  u32[r + 1], the events of run i are run_starts[i]:run_starts[i + 1]
    run_offsets i64[morsels + 1], the runs of morsel m are run_offsets[m]:run_offsets[m + 1]
    times       u32[n] (i64[n] if a chunk spans many buckets), ms since base_ms, the start of `bucket`
    columns     by (property id, kind)
    first_ms, last_ms bound the times: the zone that prunes the chunk by window.
    described keeps what compiled kernels are told about each column.
    """

    bucket: int
    base_ms: int
    first_ms: int
    last_ms: int
    run_rows: U16
    run_starts: U32
    run_offsets: I64
    times: AnyArray
    columns: Mapping[ColumnKey, EventColumn]
    _addresses: tuple[int, int, int, int] | None = field(default=None, init=False, repr=False, compare=False)
    described: dict[ColumnKey, bytes] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __len__(self) -> int:
        return int(self.times.shape[0])

    @property
    def addresses(self) -> tuple[int, int, int, int]:
        """Those of run_rows, run_starts, run_offsets and times, for kernels that walk over many chunks."""
        if (found := self._addresses) is None:
            # Asked for only where a kernel needs them: that costs more than all else of a small chunk.
            found = addresses_of(self.run_rows, self.run_starts, self.run_offsets, self.times)
            object.__setattr__(self, "_addresses", found)
        return found

    @property
    def index_nbytes(self) -> int:
        """Bytes of the arrays that map events to rows."""
        return self.run_rows.nbytes + self.run_starts.nbytes + self.run_offsets.nbytes

    @property
    def last_bucket(self) -> int:
        """Bucket of the latest event; `bucket` is that of the earliest."""
        return self.last_ms // BUCKET_MS

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.index_nbytes + self.times.nbytes + sum(column.nbytes for column in self.columns.values())

    def variants(self, prop: int | None) -> Iterator[tuple[Kind, EventColumn]]:
        """(kind, column) for each type that a property came in."""
        for key, kind in self.columns:
            if key == prop:
                yield kind, self.columns[key, kind]

    @property
    def rows(self) -> U16:
        """Row of each event inside its morsel, u16[n] (a new array at each call)."""
        return np.repeat(self.run_rows, np.diff(self.run_starts))

    @property
    def offsets(self) -> I64:
        """Events of morsel m are offsets[m]:offsets[m + 1], i64[morsels + 1]."""
        return self.run_starts[self.run_offsets].astype(np.int64)

    def full_run_rows(self) -> U32:
        """Row of each run in its partition, u32[r]."""
        morsels = np.repeat(np.arange(self.run_offsets.shape[0] - 1, dtype=np.uint32), np.diff(self.run_offsets))
        return (morsels << np.uint32(MORSEL_BITS)) | self.run_rows

    def full_rows(self) -> U32:
        """Row of each event in its partition, u32[n]."""
        return np.repeat(self.full_run_rows(), np.diff(self.run_starts))

    def full_times(self) -> I64:
        """Epoch milliseconds of each event, i64[n]."""
        return self.times.astype(np.int64) + self.base_ms

    def events_of_row(self, row: int) -> slice:
        """Positions of the events of one row."""
        morsel = row >> MORSEL_BITS
        if morsel >= self.run_offsets.shape[0] - 1:
            return slice(0, 0)
        first, last = int(self.run_offsets[morsel]), int(self.run_offsets[morsel + 1])
        local = np.uint16(row & ((1 << MORSEL_BITS) - 1))
        run = first + int(np.searchsorted(self.run_rows[first:last], local))
        if run == last or self.run_rows[run] != local:
            return slice(0, 0)
        return slice(int(self.run_starts[run]), int(self.run_starts[run + 1]))
