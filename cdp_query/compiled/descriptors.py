"""Tables of addresses for the chunks, columns and unsealed events of a view; kept with what they describe."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, cast

import numpy as np
import pyarrow as pa

from cdp_query.compiled.kernels.layout import (
    CHUNK_EVENTS,
    CHUNK_FIELDS,
    CHUNK_FIRST_MS,
    CHUNK_LAST_MS,
    COLUMN_FIELDS,
    COLUMN_KIND,
    F32_VALUES,
    F64_VALUES,
    I64_VALUES,
    SINCE_FIELDS,
    U8_VALUES,
    U16_VALUES,
    U32_VALUES,
)
from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_store.arrays import I64, U16, AnyArray, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import MORSEL_BITS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import AttributeBlock
from cdp_store.profiles.change_times import TimesReading
from cdp_store.values import Kind

_DTYPES: Final[Mapping[str, int]] = {
    "|u1": U8_VALUES,
    "<u2": U16_VALUES,
    "<u4": U32_VALUES,
    "<i8": I64_VALUES,
    "<f4": F32_VALUES,
    "<f8": F64_VALUES,
}
_NO_SCALE: Final = -1
NO_ORDER: Final = TIME_MAX_MS - TIME_MIN_MS
_OF_CHUNK: Final = (-1, Kind.UNSET)  # a key that no column has
_CHANGES: Final = "changes"
_CREATED: Final = "created"
_FIRST_SET: Final = "first set"
_NO_COLUMN: Final = bytes(8 * COLUMN_FIELDS)
_UNSEALED: Final = "unsealed"


def address_of(array: AnyArray) -> int:
    """Address of an array's memory; the array must be contiguous."""
    # A sixth of what the array's own interface takes, and a question asks for dozens.
    address: int = pa.py_buffer(array).address
    return address


def _chunk_row(chunk: EventChunk) -> bytes:
    """A row of a chunk table, kept with the chunk."""
    row = chunk.described.get(_OF_CHUNK)
    if row is None:
        row = chunk.described[_OF_CHUNK] = _packed(
            *chunk.addresses,
            chunk.times.dtype != np.uint32,
            chunk.base_ms,
            chunk.first_ms,
            chunk.last_ms,
            len(chunk),
            chunk.run_offsets.shape[0] - 1,
            chunk.index_nbytes,
            chunk.times.nbytes,
        )
    return row


def _packed(*fields: int) -> bytes:
    return struct.pack(f"={len(fields)}q", *fields)


def _table(rows: list[bytes], fields: int) -> I64:
    """Joined rows; joining bytes costs a tenth of making an array of integers."""
    # A bytearray, because kernels are compiled for arrays that can be written.
    table: I64 = np.frombuffer(bytearray().join(rows), np.int64).reshape(-1, fields)
    return table


def column_row(column: EventColumn) -> bytes:
    """The row of a column in a table of them."""
    values, is_float = column.values, column.values.dtype.kind == "f"
    return _packed(
        int(column.kind),
        _DTYPES[values.dtype.str],
        address_of(values),
        0 if column.present is None else address_of(column.present),
        column.base,
        column.scale if column.is_decimal else _NO_SCALE,
        0 if is_float else max(column.base + int(column.low), INT_MIN),
        0 if is_float else min(column.base + int(column.high), INT_MAX),
        values.shape[0],
        column.nbytes,
    )


@dataclass(frozen=True, slots=True)
class ColumnTable:
    """Columns of one property by chunk, or of one attribute by morsel: those of i are rows offsets[i]:offsets[i + 1].

    rows i64[columns, COLUMN_FIELDS], offsets i64[places + 1]; `addresses` are those of offsets and rows, `kinds` those
    of any column.
    """

    rows: I64
    offsets: I64
    addresses: tuple[int, int]
    kinds: frozenset[int]


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """Chunks of some event names in one partition: rows i64[chunks, CHUNK_FIELDS], numbers u16[names].

    `fields` are BOUND_CHUNKS to BOUND_NAME_COUNT; no chunk has more than `events_max` events, and all have `events`.
    `key` tells it from the other tables of a view. No event lies more than `overlap_ms` before one of an earlier chunk,
    and below 0 none does; it is NO_ORDER for chunks that are not in order of time.
    """

    chunks: tuple[EventChunk, ...]
    key: tuple[object, ...]
    rows: I64
    numbers: U16
    fields: tuple[int, int, int, int]
    events_max: int
    events: int
    overlap_ms: int

    def events_between(self, first_ms: int, last_ms: int) -> int:
        """Number of events in the chunks that an interval touches."""
        inside = (self.rows[:, CHUNK_FIRST_MS] <= last_ms) & (self.rows[:, CHUNK_LAST_MS] >= first_ms)
        return int(self.rows[inside, CHUNK_EVENTS].sum())


def chunk_table(view: PartitionView, names: tuple[int, ...], *, is_gathered: bool = False) -> ChunkTable:
    """The sealed chunks of event names, or all of their events as chunks in order of time."""
    key = (names, is_gathered)
    known = view.tables.get(key)
    if not isinstance(known, ChunkTable):
        if is_gathered:
            chunks = tuple(sorted((chunk for name in names for chunk in view.event_chunks(name)), key=_first_ms))
        else:
            chunks = tuple(chunk for name in names for chunk in view.events.sealed.get(name, ()))
        known = _kept_table(view, key, chunks, names, is_gathered=is_gathered)
    return known


def change_table(view: PartitionView, attribute: int) -> ChunkTable:
    """The changes of an attribute that are not in force any more, as chunks in order of arrival."""
    key = (_CHANGES, attribute)
    known = view.tables.get(key)
    return known if isinstance(known, ChunkTable) else _kept_table(view, key, view.changes.pieces(attribute), ())


def _kept_table(
    view: PartitionView,
    key: tuple[object, ...],
    chunks: tuple[EventChunk, ...],
    names: tuple[int, ...],
    *,
    is_gathered: bool = False,
) -> ChunkTable:
    rows = _table([_chunk_row(chunk) for chunk in chunks], CHUNK_FIELDS)
    numbers: U16 = np.array(names, np.uint16)
    fields = (address_of(rows), len(chunks), address_of(numbers), len(names))
    sizes = rows[:, CHUNK_EVENTS].tolist()
    overlap_ms = _overlap_ms(rows) if is_gathered else NO_ORDER
    made = ChunkTable(chunks, key, rows, numbers, fields, max(sizes, default=0), sum(sizes), overlap_ms)
    # Two questions may make it at once: one table stays, and both use it.
    return cast(ChunkTable, view.tables.setdefault(key, made))


def _overlap_ms(rows: I64) -> int:
    """Greatest distance in milliseconds from the end of all earlier chunks back to the start of a chunk."""
    ends = np.maximum.accumulate(rows[:-1, CHUNK_LAST_MS])
    return int((ends - rows[1:, CHUNK_FIRST_MS]).max(initial=-1))


def _first_ms(chunk: EventChunk) -> int:
    return chunk.first_ms


def property_table(view: PartitionView, table: ChunkTable, prop: int) -> ColumnTable:
    """The columns of a property in those chunks."""
    key = (table.key, prop)
    known = view.tables.get(key)
    if not isinstance(known, ColumnTable):
        made = _column_table([_property_rows(chunk, prop) for chunk in table.chunks])
        known = cast(ColumnTable, view.tables.setdefault(key, made))
    return known


def _property_rows(chunk: EventChunk, prop: int) -> list[bytes]:
    rows = list[bytes]()
    for key in chunk.columns:
        if key[0] == prop:
            row = chunk.described.get(key)
            if row is None:
                row = chunk.described[key] = column_row(chunk.columns[key])
            rows.append(row)
    return rows


def mask_table(masks: Iterable[Bools | None]) -> ColumnTable:
    """A column of flags for each chunk that has a mask, which must be kept alive."""
    parts = ([] if mask is None else [EventColumn(Kind.BOOL, mask.view(np.uint8), None, 0, 0, 0, 1)] for mask in masks)
    return _column_table([column_row(column) for column in columns] for columns in parts)


def attribute_table(view: PartitionView, attribute: int) -> ColumnTable:
    """The columns of the current values of an attribute, by morsel."""
    key = ("attribute", attribute)
    known = view.tables.get(key)
    if not isinstance(known, ColumnTable):
        parts = [attribute_rows(block) for block in _blocks(view, attribute)]
        parts += [[]] * ((view.row_count >> MORSEL_BITS) + 1 - len(parts))
        known = cast(ColumnTable, view.tables.setdefault(key, _column_table(parts)))
    return known


@dataclass(frozen=True, slots=True)
class SinceTable:
    """Since when something holds: rows i64[morsels, SINCE_FIELDS]; `kept` are the tables that they name."""

    rows: I64
    kept: tuple[I64, ...]


def since_table(view: PartitionView, attribute: int) -> SinceTable:
    """The times of an attribute's current values, by morsel."""
    key = ("since", attribute)
    known = view.tables.get(key)
    if not isinstance(known, SinceTable):
        changed = [None if block is None else block.changed for block in _blocks(view, attribute)]
        known = cast(SinceTable, view.tables.setdefault(key, _since_table(view, changed)))
    return known


def created_table(view: PartitionView) -> SinceTable:
    """The times when profiles were created, by morsel."""
    known = view.tables.get(_CREATED)
    if not isinstance(known, SinceTable):
        made = _since_table(view, [morsel.created for morsel in view.times.morsels])
        known = cast(SinceTable, view.tables.setdefault(_CREATED, made))
    return known


def _since_table(view: PartitionView, differing: Sequence[TimesReading | None]) -> SinceTable:
    """The times when attributes were first set, or those that differ."""
    all_first = _first_set_table(view)
    kept, rows = [all_first], list[bytes]()
    for number, morsel in enumerate(view.times.morsels):
        first = 0 if morsel.first_set is None else address_of(all_first[number])
        own = differing[number] if number < len(differing) else None
        if own is None:
            rows.append(_packed(first, 0, 0, 0, 0))
        else:
            places = (address_of(own.rows), address_of(own.times), len(own.rows))
            rows.append(_packed(first, *places, _column_address(own.column, kept)))
    return SinceTable(_table(rows, SINCE_FIELDS), tuple(kept))


def _first_set_table(view: PartitionView) -> I64:
    """The columns of the times when attributes were first set, by morsel; zeros if none ever were."""
    known = view.tables.get(_FIRST_SET)
    if not isinstance(known, np.ndarray):
        columns = [morsel.first_set for morsel in view.times.morsels]
        made = _table([_NO_COLUMN if column is None else column_row(column) for column in columns], COLUMN_FIELDS)
        known = cast(I64, view.tables.setdefault(_FIRST_SET, made))
    return known


def _column_address(column: EventColumn | None, kept: list[I64]) -> int:
    if column is None:
        return 0
    table = _table([column_row(column)], COLUMN_FIELDS)
    kept.append(table)
    return address_of(table)


def _blocks(view: PartitionView, attribute: int) -> tuple[AttributeBlock | None, ...]:
    reading = view.attributes.get(attribute)
    return () if reading is None else reading.blocks


def attribute_rows(block: AttributeBlock | None) -> list[bytes]:
    """The rows of a block's columns, in their order, kept with the block."""
    if block is None:
        return []
    for kind, column in block.columns.items():
        if kind not in block.described:
            block.described[kind] = column_row(column)
    return [block.described[kind] for kind in block.columns]


def _column_table(parts: Iterable[list[bytes]]) -> ColumnTable:
    parts = list(parts)
    flat = [row for rows in parts for row in rows]
    offsets: I64 = np.frombuffer(array("q", accumulate(map(len, parts), initial=0)), np.int64)
    rows = _table(flat, COLUMN_FIELDS)
    addresses = address_of(offsets), address_of(rows)
    return ColumnTable(rows, offsets, addresses, frozenset(rows[:, COLUMN_KIND].tolist()))


def unsealed_fields(view: PartitionView) -> bytes:
    """PART_DELTA and the fields after it."""
    known = view.tables.get(_UNSEALED)
    if not isinstance(known, bytes):
        delta = view.events.delta
        delta.delta.note_scan()
        arrays = (delta.rows, delta.names, delta.times, delta.ends, delta.keys, delta.kinds, delta.raws)
        known = view.tables[_UNSEALED] = _packed(len(delta), *[address_of(each) for each in arrays])
    return known
