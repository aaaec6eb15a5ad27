"""Turning events in order of arrival into sealed chunks, and several chunks of a bucket into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.column import EventColumn, narrow
from cdp_store.kernels import order as order_kernels
from cdp_store.limits import BUCKET_MS, MORSEL_BITS, MORSEL_ROWS
from cdp_store.values import Kind

_RADIX_EVENTS_MIN: Final = 8192  # below, numpy's sort beats clearing the radix histogram


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Events of one name in order of arrival, wide: what sealing takes.

    rows u32[n], times i64[n]; triples: event u32[m] (position among the n, ascending), key u16[m], kind u8[m],
    raw i64[m] with strings as dictionary codes.
    """

    rows: U32
    times: I64
    triple_events: U32
    triple_keys: U16
    triple_kinds: U8
    triple_raws: I64


def order_by_row_time(rows: U32, times: I64) -> I64:
    """Positions that sort events by (row, time), stable in arrival: i64[n]."""
    if rows.shape[0] < _RADIX_EVENTS_MIN:
        order: I64 = np.argsort(rows, kind="stable").astype(np.int64)
    else:
        order = np.arange(rows.shape[0], dtype=np.int64)
        for shift in range(0, max(int(rows.max()).bit_length(), 1), 16):
            passed: I64 = np.empty_like(order)
            order_kernels.stable_order_by_digit(rows, shift, order, passed)
            order = passed
    order_kernels.stable_order_by_row_time(rows, times, order)
    return order


def seal(events: EventColumns) -> tuple[EventChunk, ...]:
    """Chunks, one per bucket, oldest first."""
    if events.rows.shape[0] == 0:
        return ()
    order = order_by_row_time(events.rows, events.times)
    buckets = events.times[order] // BUCKET_MS
    spans = _bucket_spans(order, buckets)
    columns = list(_pivot(events, order if spans is None else np.concatenate([span for _, span in spans])))
    if spans is None:
        return (_chunk(int(buckets[0]), events.rows[order], events.times[order], columns, slice(0, order.shape[0])),)
    chunks, start = list[EventChunk](), 0
    for bucket, span in spans:
        part = slice(start, start + span.shape[0])
        chunks.append(_chunk(bucket, events.rows[span], events.times[span], columns, part))
        start = part.stop
    return tuple(chunks)


def _bucket_spans(order: I64, buckets: I64) -> list[tuple[int, I64]] | None:
    """(bucket, positions in order) per bucket, or None when all events share one bucket."""
    low, high = int(buckets.min()), int(buckets.max())
    if low == high:
        return None
    by_bucket = np.argsort(buckets, kind="stable")
    sorted_buckets = buckets[by_bucket]
    starts = np.flatnonzero(np.diff(sorted_buckets, prepend=low - 1))
    stops = np.append(starts[1:], by_bucket.shape[0])
    return [(int(sorted_buckets[a]), order[by_bucket[a:b]]) for a, b in zip(starts, stops, strict=True)]


WideColumn = tuple[ColumnKey, I64, Bools | None]


def _pivot(events: EventColumns, order: I64) -> Iterator[WideColumn]:
    """Per (key, kind): its raw values laid out in `order`, with presence where something is missing."""
    count = order.shape[0]
    position: I64 = np.empty(count, np.int64)
    position[order] = np.arange(count)
    groups = events.triple_keys.astype(np.uint32) << np.uint32(3) | events.triple_kinds
    for group in np.flatnonzero(np.bincount(groups)) if groups.size else ():
        members = np.flatnonzero(groups == group)
        where = position[events.triple_events[members]]
        raws: I64 = np.zeros(count, np.int64)
        raws[where] = events.triple_raws[members]
        present: Bools | None = None
        if members.shape[0] < count:
            present = np.zeros(count, np.bool_)
            present[where] = True
        yield (int(group) >> 3, Kind(int(group) & 7)), raws, present


def _chunk(bucket: int, rows: U32, times: I64, columns: Iterable[WideColumn], part: slice) -> EventChunk:
    base = bucket * BUCKET_MS
    return EventChunk(
        bucket=bucket,
        base_ms=base,
        first_ms=int(times.min()),
        last_ms=int(times.max()),
        rows=(rows & np.uint32(MORSEL_ROWS - 1)).astype(np.uint16),
        offsets=_morsel_offsets(rows),
        times=(times - base).astype(np.uint32),
        columns=dict(_narrowed(columns, part)),
    )


def _narrowed(columns: Iterable[WideColumn], part: slice) -> Iterator[tuple[ColumnKey, EventColumn]]:
    for key, raws, present in columns:
        inside = None if present is None else present[part]
        if inside is not None and not inside.any():
            continue
        if inside is not None and inside.all():
            inside = None
        yield key, narrow(key[1], raws[part], inside)


def _morsel_offsets(rows: U32) -> I64:
    morsels = (int(rows[-1]) >> MORSEL_BITS) + 1
    firsts = np.arange(morsels, dtype=np.uint64) << np.uint64(MORSEL_BITS)
    offsets: I64 = np.append(np.searchsorted(rows, firsts), rows.shape[0]).astype(np.int64)
    return offsets


def compact(chunks: Sequence[EventChunk]) -> EventChunk:
    """One chunk with the events of several of the same bucket; `chunks` stand in order of arrival."""
    rows = np.concatenate([chunk.full_rows() for chunk in chunks])
    times = np.concatenate([chunk.full_times() for chunk in chunks])
    order = order_by_row_time(rows, times)
    keys = dict.fromkeys(key for chunk in chunks for key in chunk.columns)
    columns = [(key, *_joined(chunks, key, order)) for key in keys]
    return _chunk(chunks[0].bucket, rows[order], times[order], columns, slice(0, order.shape[0]))


def _joined(chunks: Sequence[EventChunk], key: ColumnKey, order: I64) -> tuple[I64, Bools | None]:
    raws, presences = list[I64](), list[Bools]()
    for chunk in chunks:
        column = chunk.columns.get(key)
        if column is None:
            raws.append(np.zeros(len(chunk), np.int64))
            presences.append(np.zeros(len(chunk), np.bool_))
        else:
            presence = column.presence()
            raws.append(column.raws())
            presences.append(np.ones(len(chunk), np.bool_) if presence is None else presence)
    present: Bools = np.concatenate(presences)[order]
    return np.concatenate(raws)[order], None if present.all() else present
