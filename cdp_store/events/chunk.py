"""A sealed chunk: the immutable events of one name in one bucket, or in several sparse ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U16, U32, AnyArray
from cdp_store.events.column import EventColumn
from cdp_store.limits import BUCKET_MS, MORSEL_BITS
from cdp_store.values import Kind

ColumnKey = tuple[int, Kind]  # (property id, kind)


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Events sorted by (row, time), stable in arrival.

    rows      u16[n], row inside its morsel
    offsets   i64[morsels + 1], the events of morsel m are offsets[m]:offsets[m + 1]
    times     u32[n] (i64[n] where a chunk spans many buckets), ms since base_ms, the start of `bucket`
    columns   by (property id, kind)
    first_ms, last_ms bound the times: the zone that prunes the chunk by window.
    """

    bucket: int
    base_ms: int
    first_ms: int
    last_ms: int
    rows: U16
    offsets: I64
    times: AnyArray
    columns: Mapping[ColumnKey, EventColumn]

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def last_bucket(self) -> int:
        """Bucket of the latest event; `bucket` is that of the earliest."""
        return self.last_ms // BUCKET_MS

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        fixed = self.rows.nbytes + self.offsets.nbytes + self.times.nbytes
        return fixed + sum(column.nbytes for column in self.columns.values())

    def full_rows(self) -> U32:
        """Row of each event in its partition, u32[n]."""
        morsels = np.repeat(np.arange(self.offsets.shape[0] - 1, dtype=np.uint32), np.diff(self.offsets))
        return (morsels << np.uint32(MORSEL_BITS)) | self.rows

    def full_times(self) -> I64:
        """Epoch milliseconds of each event, i64[n]."""
        return self.times.astype(np.int64) + self.base_ms

    def events_of_row(self, row: int) -> slice:
        """Where the events of one row stand."""
        morsel = row >> MORSEL_BITS
        if morsel >= self.offsets.shape[0] - 1:
            return slice(0, 0)
        start, stop = int(self.offsets[morsel]), int(self.offsets[morsel + 1])
        local = np.uint16(row & ((1 << MORSEL_BITS) - 1))
        inside = self.rows[start:stop]
        return slice(
            start + int(np.searchsorted(inside, local, "left")), start + int(np.searchsorted(inside, local, "right"))
        )
