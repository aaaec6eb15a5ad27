"""Chunks that overlap in time as one chunk, for parts of a question that follow each user's events in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cdp_query.calendar.windows import Interval
from cdp_query.kernels.merging import merge_runs
from cdp_query.scan.scan import Scanned
from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.columns.column import EventColumn, narrow
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.chunk_sealing import joined
from cdp_store.limits import BUCKET_MS, TIME_MAX_MS, TIME_MIN_MS

_AT_ONCE: Final = 8  # chunks merged together: each event is compared with the next one of every other chunk
_U32_MAX: Final = 0xFFFFFFFF
_EVER: Final = Interval(TIME_MIN_MS, TIME_MAX_MS)
_NO_ORDER: Final[I64] = np.zeros(0, np.int64)


def merged(scanned: Sequence[Scanned], wanted: Interval = _EVER) -> EventChunk:
    """The events in the interval that count, at least none; of one row and time in the order of the chunks.

    Its zone may be wider than its events. Columns are made when they are read.
    """
    while len(scanned) > _AT_ONCE:
        parts = (scanned[at : at + _AT_ONCE] for at in range(0, len(scanned), _AT_ONCE))
        scanned = [Scanned(merged(part, wanted), None) for part in parts]
    first_ms = max(wanted.first_ms, min(each.chunk.first_ms for each in scanned))
    last_ms = max(first_ms, min(wanted.last_ms, max(each.chunk.last_ms for each in scanned)))
    bucket = first_ms // BUCKET_MS
    is_wide = last_ms - bucket * BUCKET_MS > _U32_MAX
    times: AnyArray = np.empty(sum(len(each.chunk) for each in scanned), np.int64 if is_wide else np.uint32)
    index = _merge(scanned, wanted, bucket * BUCKET_MS, times, _NO_ORDER)
    count = int(index[1][-1])
    columns = _JoinedColumns(tuple(scanned), wanted, count)
    return EventChunk(bucket, bucket * BUCKET_MS, first_ms, last_ms, *index, times[:count], columns)


def _merge(
    scanned: Sequence[Scanned], wanted: Interval, base_ms: int, times: AnyArray, order: I64
) -> tuple[U16, U32, I64]:
    """The run index of the events that count; `times` and `order` as in kernels/merging."""
    run_rows: U16 = np.empty(sum(each.chunk.run_rows.shape[0] for each in scanned), np.uint16)
    run_starts: U32 = np.empty(run_rows.shape[0] + 1, np.uint32)
    run_offsets: I64 = np.empty(max(each.chunk.run_offsets.shape[0] for each in scanned), np.int64)
    table: I64 = np.array([_fields(each, wanted) for each in scanned], np.int64)
    runs, _ = merge_runs(table, base_ms, run_rows, run_starts, run_offsets, times, order)
    return run_rows[:runs], run_starts[: runs + 1], run_offsets


def _fields(scanned: Scanned, wanted: Interval) -> tuple[int, ...]:
    """A chunk's events in the interval that count, as a row of the table of kernels/merging."""
    chunk, mask = scanned.chunk, scanned.mask
    run_rows, run_starts, run_offsets, times = chunk.addresses
    wide, covered = chunk.times.itemsize == 8, wanted.covers(chunk.first_ms, chunk.last_ms)
    return (
        run_rows,
        run_starts,
        run_offsets,
        chunk.run_offsets.shape[0] - 1,
        times,
        wide,
        chunk.base_ms,
        0 if mask is None else mask.ctypes.data,
        wanted.first_ms,
        wanted.last_ms,
        covered and not wide and mask is None,
    )


@dataclass(frozen=True, slots=True)
class _JoinedColumns(Mapping[ColumnKey, EventColumn]):
    """Columns of merged chunks, each joined when it is read."""

    scanned: tuple[Scanned, ...]
    wanted: Interval
    count: int
    orders: list[I64] = field(default_factory=list)

    def __getitem__(self, key: ColumnKey) -> EventColumn:
        chunks = [each.chunk for each in self.scanned]
        if not any(key in chunk.columns for chunk in chunks):
            raise KeyError(key)
        raws, present = joined(chunks, key, self._order())
        if not self.count or (present is not None and not present.any()):
            none: U8 = np.zeros(self.count, np.uint8)
            return EventColumn(key[1], none, np.packbits(none), 0, 0, 0, 0)
        return narrow(key[1], raws, present)

    def __iter__(self) -> Iterator[ColumnKey]:
        return iter(dict.fromkeys(key for each in self.scanned for key in each.chunk.columns))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _order(self) -> I64:
        """The place of each event among those of all chunks, one after the other."""
        if not self.orders:
            order: I64 = np.empty(sum(len(each.chunk) for each in self.scanned), np.int64)
            _merge(self.scanned, self.wanted, 0, np.empty_like(order), order)
            self.orders.append(order[: self.count])
        return self.orders[0]
