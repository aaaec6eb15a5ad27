"""Chunks as the columns of a file, and back, each column in the narrow form that memory holds it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdp_store.arrays import I64, U32, AnyArray, Bools
from cdp_store.columns.column import EventColumn, narrow
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.chunk_sealing import chunk_in_order
from cdp_store.limits import SNAPSHOT_FILE_CELLS_MAX, SNAPSHOT_SMALL_FILE_ROWS
from cdp_store.snapshot.arrow_tables import DECIMAL, INSTANT, column_of, instants, values_of
from cdp_store.snapshot.manifest import ChunkEntry, ColumnEntry
from cdp_store.values import Kind

_INT32: Final = np.iinfo(np.int32)
_BY_WIDTH: Final[Mapping[int, npt.DTypeLike]] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.int64}


def column_name(owner: str, kind: Kind) -> str:
    """Name of the column with the values of one property and kind."""
    return f"{owner}:{kind.name.lower()}"


def column_entry(key: ColumnKey, column: EventColumn) -> ColumnEntry:
    """Form in which memory holds a column; floats that are no decimals are encoded again when they are read."""
    if column.values.dtype.kind == "f":
        return ColumnEntry(key[0], int(key[1]))
    low, high, width = int(column.low), int(column.high), column.values.dtype.itemsize
    return ColumnEntry(key[0], int(key[1]), width, column.base, column.scale, low, high)


def file_groups(chunks: Sequence[EventChunk]) -> Iterator[list[EventChunk]]:
    """Groups chunks that share a file: those with the same columns, since a null costs as much as a value. Small
    groups are combined,  as long as their rows and columns together stay within bounds."""
    alike = dict[frozenset[ColumnKey], list[EventChunk]]()
    for chunk in chunks:
        alike.setdefault(frozenset(chunk.columns), []).append(chunk)
    few = list[EventChunk]()
    for group in alike.values():
        if sum(map(len, group)) >= SNAPSHOT_SMALL_FILE_ROWS:
            yield from _in_files(group)
        else:
            few += group
    yield from _in_files(few)


def _in_files(chunks: Sequence[EventChunk]) -> Iterator[list[EventChunk]]:
    """Neighbours, as long as their rows and columns together stay within bounds."""
    group, rows, keys = list[EventChunk](), 0, set[object]()
    for chunk in chunks:
        wider = keys | set(chunk.columns)
        if group and (rows + len(chunk)) * (len(wider) + 2) > SNAPSHOT_FILE_CELLS_MAX:
            yield group
            group, rows, wider = [], 0, set(chunk.columns)
        group.append(chunk)
        rows, keys = rows + len(chunk), wider
    if group:
        yield group


def chunk_table(chunks: Sequence[EventChunk], keys: Sequence[ColumnKey], names: Mapping[int, str]) -> pa.Table:
    """Events of chunks, one after the other: their rows, times and the given columns."""
    count = sum(map(len, chunks))
    rows: U32 = np.empty(count, np.uint32)
    times: I64 = np.empty(count, np.int64)
    for chunk, part in _parts(chunks):
        rows[part] = chunk.full_rows()
        np.add(chunk.times, chunk.base_ms, out=times[part], casting="unsafe", dtype=np.int64)
    arrays, fields = [pa.array(rows), instants(times)], [pa.field("row", pa.uint32()), pa.field("time", INSTANT)]
    for key in keys:
        array, is_decimal = _file_column(chunks, key, count)
        arrays.append(array)
        name = column_name(names[key[0]], key[1])
        fields.append(pa.field(name, array.type, metadata=DECIMAL if is_decimal else None))
    return pa.table(arrays, schema=pa.schema(fields))


def _parts(chunks: Sequence[EventChunk]) -> Iterator[tuple[EventChunk, slice]]:
    start = 0
    for chunk in chunks:
        yield chunk, slice(start, start + len(chunk))
        start += len(chunk)


def _file_column(chunks: Sequence[EventChunk], key: ColumnKey, count: int) -> tuple[pa.Array, bool]:
    """(one column of all chunks, whether all its values are decimals of few digits)."""
    held = [column for chunk in chunks if (column := chunk.columns.get(key)) is not None]
    values: AnyArray = np.zeros(count, _file_dtype(key[1], held))
    absent: Bools | None = None
    if len(held) < len(chunks) or any(column.present is not None for column in held):
        absent = np.ones(count, np.bool_)
    for chunk, part in _parts(chunks):
        column = chunk.columns.get(key)
        if column is None:
            continue
        _lay_out(column, values[part])
        if absent is not None:
            presence = column.presence()
            absent[part] = False if presence is None else ~presence
    array = instants(values, absent) if key[1] is Kind.TIME else pa.array(values, mask=absent)
    return array, all(column.is_decimal for column in held)


def _file_dtype(kind: Kind, columns: Sequence[EventColumn]) -> npt.DTypeLike:
    match kind:
        case Kind.BOOL:
            return np.bool_
        case Kind.FLOAT:
            return np.float64
        case Kind.STRING | Kind.LIST:
            return np.uint32
        case Kind.INT:
            low, high = (min(c.base + int(c.low) for c in columns), max(c.base + int(c.high) for c in columns))
            return np.int32 if low >= _INT32.min and high <= _INT32.max else np.int64
    return np.int64


def column_array(column: EventColumn, count: int) -> pa.Array:
    """A column as one of a file with `count` rows: null after its end, and for absent values."""
    values: AnyArray = np.zeros(count, _file_dtype(column.kind, [column]))
    covered, presence = column.values.shape[0], column.presence()
    _lay_out(column, values[:covered])
    absent: Bools | None = None
    if covered < count or presence is not None:
        absent = np.ones(count, np.bool_)
        absent[:covered] = False if presence is None else ~presence
    return instants(values, absent) if column.kind is Kind.TIME else pa.array(values, mask=absent)


def _lay_out(column: EventColumn, out: AnyArray) -> None:
    """Writes the values that a column represents into an array that can hold them all."""
    if column.kind is Kind.FLOAT:
        out[:] = column.floats()
        return
    np.copyto(out, column.values, casting="unsafe")
    if column.base:
        out += out.dtype.type(column.base)


@dataclass(frozen=True, slots=True)
class FileColumns:
    """A file of chunks in memory: rows u32[n], times i64[n], by column (values as in the file, presence or None);
    absent values are undefined."""

    rows: U32
    times: I64
    values: Mapping[ColumnKey, tuple[AnyArray, Bools | None]]

    @staticmethod
    def read(table: pa.Table, keys: Sequence[ColumnKey], names: Mapping[int, str]) -> FileColumns:
        """The columns `chunk_table` wrote."""
        values = {key: _values(column_of(table, column_name(names[key[0]], key[1]))) for key in keys}
        return FileColumns(values_of(column_of(table, "row")), values_of(column_of(table, "time")), values)

    def chunk(self, entry: ChunkEntry) -> EventChunk:
        """One of the chunks."""
        part = slice(entry.start, entry.start + entry.rows)
        columns = dict[ColumnKey, EventColumn]()
        for each in entry.columns:
            key = (each.property, Kind(each.kind))
            values, present = self.values[key]
            inside = None if present is None or present[part].all() else present[part]
            columns[key] = encoded(each, values[part], inside)
        return chunk_in_order(self.rows[part], self.times[part], columns)


def _values(column: pa.Array) -> tuple[AnyArray, Bools | None]:
    present = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
    return values_of(column), present


def encoded(entry: ColumnEntry, values: AnyArray, present: Bools | None) -> EventColumn:
    """A column as memory held it when it was written."""
    kind = Kind(entry.kind)
    if not entry.width:
        return narrow(kind, _raws(kind, values), present)
    stored = _stored(entry, values, np.dtype(_BY_WIDTH[entry.width]))
    bitmap = None
    if present is not None:
        bitmap = np.packbits(present, bitorder="little")
        stored[~present] = entry.low
    return EventColumn(kind, stored, bitmap, entry.base, entry.scale, entry.low, entry.high)


def _stored(entry: ColumnEntry, values: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Values in the encoding of an entry, in an array of their own."""
    if Kind(entry.kind) is Kind.FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):  # absent entries may hold anything
            return (np.rint(values * 10.0**entry.scale) - entry.base).astype(dtype)
    return (values - values.dtype.type(entry.base) if entry.base else values).astype(dtype)


def _raws(kind: Kind, values: AnyArray) -> I64:
    raws: I64 = values.view(np.int64) if kind is Kind.FLOAT else values.astype(np.int64)
    return raws
