"""Turning events in order of arrival into sealed chunks, and crowded chunks into fewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cdp_store.arrays import I32, I64, U8, U16, U32, AnyArray, Bools
from cdp_store.columns.column import EventColumn, narrow
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.layout import LAYOUT, Cut, Layout
from cdp_store.kernels import order as order_kernels
from cdp_store.kernels import sealing as kernels
from cdp_store.limits import BUCKET_MS, MORSEL_BITS, MORSEL_ROWS
from cdp_store.values import Kind

_U32_MAX: Final = 0xFFFFFFFF
_RADIX_EVENTS_MIN: Final = 512  # below, numpy's sort beats clearing the radix histogram
_NARROW_DIGIT: Final = 13
_WIDE_DIGIT: Final = 16
_WIDE_DIGIT_EVENTS_MIN: Final = 65_536  # below, clearing the large histogram costs more than another pass
_RAW_BYTES: Final = 8
_PIVOT_CELLS_MAX: Final = 1 << 22  # laid out at once, 9 bytes each


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Events of one name in order of arrival, wide: the input of sealing.

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
        bits = max(int(rows.max()).bit_length(), 1)
        digit_max = _WIDE_DIGIT if rows.shape[0] > _WIDE_DIGIT_EVENTS_MIN else _NARROW_DIGIT
        digit = -(-bits // -(-bits // digit_max))  # passes of the same width, as few as can be
        order = np.arange(rows.shape[0], dtype=np.int64)
        for shift in range(0, bits, digit):
            passed: I64 = np.empty_like(order)
            order_kernels.stable_order_by_digit(rows, shift, digit, order, passed)
            order = passed
    order_kernels.stable_order_by_row_time(rows, times, order)
    return order


def seal(events: EventColumns, layout: Layout = LAYOUT) -> tuple[EventChunk, ...]:
    """Chunks as the layout cuts them, oldest first; in several passes, by arrival, if the columns would not fit."""
    return tuple(chunk for part in _fitting(events, layout) for chunk in _seal_together(part, layout))


def _seal_together(events: EventColumns, layout: Layout) -> tuple[EventChunk, ...]:
    order = order_by_row_time(events.rows, events.times) if events.rows.shape[0] else np.zeros(0, np.int64)
    cut = layout.cut(events.times[order])
    order = order if cut.order is None else order[cut.order]
    columns = _pivot(events, order) if cut.parts else ()
    return _chunks(events.rows[order], events.times[order], columns, cut)


def _fitting(events: EventColumns, layout: Layout) -> Iterator[EventColumns]:
    """The events, halved until the columns of each part fit a chunk of the layout."""
    count, values = events.rows.shape[0], events.triple_keys.shape[0]
    columns = np.count_nonzero(_group_sizes(events)) if values else 0
    if count < 2 or layout.fits(int(count * columns * _RAW_BYTES), values):
        yield events
        return
    middle = count // 2
    for part in (slice(0, middle), slice(middle, count)):
        yield from _fitting(_part_of(events, part), layout)


def _part_of(events: EventColumns, part: slice) -> EventColumns:
    first, last = np.searchsorted(events.triple_events, (part.start, part.stop)).tolist()
    return EventColumns(
        events.rows[part],
        events.times[part],
        events.triple_events[first:last] - np.uint32(part.start),
        events.triple_keys[first:last],
        events.triple_kinds[first:last],
        events.triple_raws[first:last],
    )


def _group_sizes(events: EventColumns) -> I64:
    """Values of each key and kind: i64[keys * 8], at key * 8 + kind."""
    sizes: I64 = np.zeros(((int(events.triple_keys.max()) + 1) << 3), np.int64)
    kernels.count_groups(events.triple_keys, events.triple_kinds, sizes)
    return sizes


WideColumn = tuple[ColumnKey, I64, Bools | None]


def _pivot(events: EventColumns, order: I64) -> Iterator[WideColumn]:
    """Per (key, kind): its raw values laid out in `order`, with presence where something is missing."""
    count = order.shape[0]
    if not count or not events.triple_keys.shape[0]:
        return
    places: I64 = np.empty(count, np.int64)
    kernels.invert(order, places)
    sizes = _group_sizes(events)
    groups = np.flatnonzero(sizes)
    at_once = max(_PIVOT_CELLS_MAX // count, 1)
    for first in range(0, groups.shape[0], at_once):
        some = groups[first : first + at_once]
        slots: I32 = np.full(sizes.shape[0], -1, np.int32)
        slots[some] = np.arange(some.shape[0])
        raws: AnyArray = np.zeros((some.shape[0], count), np.int64)
        present: AnyArray = np.zeros((some.shape[0], count), np.bool_)
        kernels.lay_out(
            places,
            events.triple_events,
            events.triple_keys,
            events.triple_kinds,
            events.triple_raws,
            slots,
            raws,
            present,
        )
        for slot, group in enumerate(some.tolist()):
            yield (group >> 3, Kind(group & 7)), raws[slot], None if sizes[group] == count else present[slot]


def _chunks(rows: U32, times: I64, columns: Iterable[WideColumn], cut: Cut) -> tuple[EventChunk, ...]:
    # One column after the other: a wide one takes 9 bytes an event, and there may be thousands.
    narrowed = [dict[ColumnKey, EventColumn]() for _ in cut.parts]
    for column in columns:
        for own, part in zip(narrowed, cut.parts, strict=True):
            if (found := _narrowed(column, part)) is not None:
                own[column[0]] = found
    buckets = (int(times[part].min()) // BUCKET_MS for part in cut.parts)
    return tuple(
        _chunk(bucket, rows[part], times[part], own)
        for bucket, part, own in zip(buckets, cut.parts, narrowed, strict=True)
    )


def _chunk(bucket: int, rows: U32, times: I64, columns: Mapping[ColumnKey, EventColumn]) -> EventChunk:
    base, first_ms, last_ms = bucket * BUCKET_MS, int(times.min()), int(times.max())
    run_rows, run_starts, run_offsets = _runs(rows)
    since_base = times - base
    return EventChunk(
        bucket=bucket,
        base_ms=base,
        first_ms=first_ms,
        last_ms=last_ms,
        run_rows=run_rows,
        run_starts=run_starts,
        run_offsets=run_offsets,
        times=since_base.astype(np.uint32) if last_ms - base <= _U32_MAX else since_base,
        columns=columns,
    )


def _runs(rows: U32) -> tuple[U16, U32, I64]:
    """The run index of a chunk (EventChunk) with these rows, ascending."""
    run_rows: U16 = np.empty(rows.shape[0], np.uint16)
    run_starts: U32 = np.empty(rows.shape[0] + 1, np.uint32)
    run_offsets: I64 = np.empty((int(rows[-1]) >> MORSEL_BITS) + 2, np.int64)
    # The kernel is compiled for writable arrays; those read from a file are not.
    whole = np.require(rows, requirements=("C", "W"))
    count = kernels.find_runs(whole, MORSEL_BITS, run_rows, run_starts, run_offsets)
    return run_rows[:count].copy(), run_starts[: count + 1].copy(), run_offsets


def chunk_in_order(rows: U32, times: I64, columns: Mapping[ColumnKey, EventColumn]) -> EventChunk:
    """A chunk of events that are sorted by (row, time) already; rows u32[n], times i64[n]."""
    return _chunk(int(times.min()) // BUCKET_MS, rows, times, columns)


def _narrowed(column: WideColumn, part: slice) -> EventColumn | None:
    """The column of a part of the events, or None if none of them has a value."""
    key, raws, present = column
    inside = None if present is None else present[part]
    if inside is not None and not inside.any():
        return None
    return narrow(key[1], raws[part], None if inside is None or inside.all() else inside)


def _morsel_offsets(run_rows: U32) -> I64:
    morsels = (int(run_rows[-1]) >> MORSEL_BITS) + 1
    firsts = np.arange(morsels, dtype=np.uint64) << np.uint64(MORSEL_BITS)
    offsets: I64 = np.append(np.searchsorted(run_rows, firsts), run_rows.shape[0]).astype(np.int64)
    return offsets


def compact(chunks: Sequence[EventChunk], layout: Layout = LAYOUT, kept: Bools | None = None) -> tuple[EventChunk, ...]:
    """The events of chunks, given in order of arrival, cut again by the layout.

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
    columns = ((key, *joined(chunks, key, order)) for key in keys)
    return _chunks(rows[order], times[order], columns, cut)


def renumber(chunk: EventChunk, ranks: U32) -> EventChunk:
    """The chunk with new row numbers, ranks[old], that keep its order."""
    run_rows = ranks[chunk.full_run_rows()]
    local = (run_rows & np.uint32(MORSEL_ROWS - 1)).astype(np.uint16)
    return replace(chunk, run_rows=local, run_offsets=_morsel_offsets(run_rows))


def joined(chunks: Sequence[EventChunk], key: ColumnKey, order: I64) -> tuple[I64, Bools | None]:
    """The raw values of a column of some chunks, one after the other and then in `order`; presence, or None for all."""
    columns = [chunk.columns.get(key) for chunk in chunks]
    parts = [
        np.zeros(len(chunk), np.int64) if column is None else column.raws()
        for chunk, column in zip(chunks, columns, strict=True)
    ]
    raws = np.concatenate(parts)[order]
    if all(column is not None and column.present is None for column in columns):
        return raws, None
    present: Bools = np.concatenate([_presence(chunk, column) for chunk, column in zip(chunks, columns, strict=True)])[
        order
    ]
    return raws, None if present.all() else present


def _presence(chunk: EventChunk, column: EventColumn | None) -> Bools:
    if column is None:
        return np.zeros(len(chunk), np.bool_)
    presence = column.presence()
    return np.ones(len(chunk), np.bool_) if presence is None else presence
