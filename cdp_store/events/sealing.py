"""Turning events in order of arrival into sealed chunks, and crowded chunks into fewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, AnyArray, Bools
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.column import EventColumn, narrow
from cdp_store.events.layout import LAYOUT, Cut, Layout
from cdp_store.kernels import order as order_kernels
from cdp_store.limits import BUCKET_MS, MORSEL_BITS, MORSEL_ROWS
from cdp_store.values import Kind

_U32_MAX: Final = 0xFFFFFFFF
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


def seal(events: EventColumns, layout: Layout = LAYOUT) -> tuple[EventChunk, ...]:
    """Chunks as the layout cuts them, oldest first."""
    order = order_by_row_time(events.rows, events.times) if events.rows.shape[0] else np.zeros(0, np.int64)
    cut = layout.cut(events.times[order])
    order = order if cut.order is None else order[cut.order]
    columns = list(_pivot(events, order)) if cut.parts else []
    return _chunks(events.rows[order], events.times[order], columns, cut)


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


def _chunks(rows: U32, times: I64, columns: Sequence[WideColumn], cut: Cut) -> tuple[EventChunk, ...]:
    buckets = (int(times[part].min()) // BUCKET_MS for part in cut.parts)
    return tuple(
        _chunk(bucket, rows[part], times[part], columns, part) for bucket, part in zip(buckets, cut.parts, strict=True)
    )


def _chunk(bucket: int, rows: U32, times: I64, columns: Iterable[WideColumn], part: slice) -> EventChunk:
    base = bucket * BUCKET_MS
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] + np.uint32(1)))
    run_rows = rows[starts]
    return EventChunk(
        bucket=bucket,
        base_ms=base,
        first_ms=int(times.min()),
        last_ms=int(times.max()),
        run_rows=(run_rows & np.uint32(MORSEL_ROWS - 1)).astype(np.uint16),
        run_starts=np.append(starts, rows.shape[0]).astype(np.uint32),
        run_offsets=_morsel_offsets(run_rows),
        times=_narrowed_times(times - base),
        columns=dict(_narrowed(columns, part)),
    )


def _narrowed_times(times: I64) -> AnyArray:
    return times.astype(np.uint32) if int(times.max()) <= _U32_MAX else times


def chunk_in_order(rows: U32, times: I64, columns: Iterable[WideColumn]) -> EventChunk:
    """A chunk of events that are sorted by (row, time) already; rows u32[n], times i64[n]."""
    return _chunk(int(times.min()) // BUCKET_MS, rows, times, columns, slice(0, rows.shape[0]))


def _narrowed(columns: Iterable[WideColumn], part: slice) -> Iterator[tuple[ColumnKey, EventColumn]]:
    for key, raws, present in columns:
        inside = None if present is None else present[part]
        if inside is not None and not inside.any():
            continue
        if inside is not None and inside.all():
            inside = None
        yield key, narrow(key[1], raws[part], inside)


def _morsel_offsets(run_rows: U32) -> I64:
    morsels = (int(run_rows[-1]) >> MORSEL_BITS) + 1
    firsts = np.arange(morsels, dtype=np.uint64) << np.uint64(MORSEL_BITS)
    offsets: I64 = np.append(np.searchsorted(run_rows, firsts), run_rows.shape[0]).astype(np.int64)
    return offsets


def compact(chunks: Sequence[EventChunk], layout: Layout = LAYOUT, kept: Bools | None = None) -> tuple[EventChunk, ...]:
    """The events of chunks that stand in order of arrival, cut anew by the layout.

    `kept` (bool[n] over the events of the chunks, one after the other) leaves events out; None keeps all.
    """
    rows = np.concatenate([chunk.full_rows() for chunk in chunks])
    times = np.concatenate([chunk.full_times() for chunk in chunks])
    chosen = np.arange(rows.shape[0]) if kept is None else np.flatnonzero(kept)
    if chosen.shape[0] == 0:
        return ()
    order = chosen[order_by_row_time(rows[chosen], times[chosen])]
    cut = layout.cut(times[order])
    order = order if cut.order is None else order[cut.order]
    keys = dict.fromkeys(key for chunk in chunks for key in chunk.columns)
    columns = [(key, *_joined(chunks, key, order)) for key in keys]
    return _chunks(rows[order], times[order], columns, cut)


def renumber(chunk: EventChunk, ranks: U32) -> EventChunk:
    """The chunk with new row numbers, ranks[old], that keep its order."""
    run_rows = ranks[chunk.full_run_rows()]
    local = (run_rows & np.uint32(MORSEL_ROWS - 1)).astype(np.uint16)
    return replace(chunk, run_rows=local, run_offsets=_morsel_offsets(run_rows))


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
