"""Between a partition's arrays and Arrow tables, and between tables and Parquet bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cdp_store.arrays import I64, U8, U64, AnyArray, Bools
from cdp_store.errors import SnapshotDamaged
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.limits import SNAPSHOT_ROW_GROUP_ROWS
from cdp_store.values import Kind, float_bits

_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_INT32: Final = np.iinfo(np.int32)
# (encoding, compression) by measurement on events of the yardstick, bytes and ns to write and to read a value: rows
# 1.0 B, 9 and 3 ns (delta and zstd: 0.6 B, 13 and 6 ns); times 4.3 B, 10 and 3 ns (delta: 4.1 B, 14 and 3 ns);
# codes and integers 0.6 to 1.0 B, 7 and 2 ns (delta and zstd: 0.5 to 0.9 B, 10 and 4 ns); decimals such as prices
# 1.3 B, 14 and 2 ns as dictionaries (byte streams: 3.8 B); bools 0.1 B, 8 and 4 ns (runs and zstd: the same size, 17
# and 5 ns); strings 4.9 B, 75 and 22 ns (lengths as deltas: the same size, 110 and 35 ns).
_STREAMS: Final = ("BYTE_STREAM_SPLIT", "lz4")
_BYTES: Final = ("PLAIN", "zstd")
_DICTIONARY: Final = (None, "none")
_CODES: Final = (None, "zstd")
_DICTIONARY_BYTES_MAX: Final = 1 << 26  # far beyond what one file can need: a column of few texts stays one
_PLAIN: Final = ("PLAIN", "none")
_DECIMAL: Final = {b"decimal": b"1"}  # marks a float column of few digits, which repeats values


def column_name(owner: str, kind: Kind) -> str:
    """Name of the column with the values of one property and kind."""
    return f"{owner}:{kind.name.lower()}"


def chunk_table(chunks: Sequence[EventChunk], keys: Sequence[ColumnKey], names: Mapping[int, str]) -> pa.Table:
    """Events of chunks, one behind the other: their rows, times and the given columns."""
    columns: dict[str, pa.Array] = {
        "row": pa.array(np.concatenate([chunk.full_rows() for chunk in chunks])),
        "time": _instants(np.concatenate([chunk.full_times() for chunk in chunks]), None),
    }
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    for key in keys:
        name = column_name(names[key[0]], key[1])
        raws, present = _joined(chunks, key)
        columns[name] = _typed(key[1], raws, present)
        is_decimal = all(chunk.columns[key].is_decimal for chunk in chunks if key in chunk.columns)
        fields.append(pa.field(name, columns[name].type, metadata=_DECIMAL if is_decimal else None))
    return pa.table(columns, schema=pa.schema(fields))


def _joined(chunks: Sequence[EventChunk], key: ColumnKey) -> tuple[I64, Bools]:
    count = sum(map(len, chunks))
    raws: I64 = np.zeros(count, np.int64)
    present: Bools = np.zeros(count, np.bool_)
    start = 0
    for chunk in chunks:
        part = slice(start, start + len(chunk))
        column = chunk.columns.get(key)
        if column is not None:
            presence = column.presence()
            raws[part] = column.raws()
            present[part] = True if presence is None else presence
        start = part.stop
    return raws, present


def _typed(kind: Kind, raws: I64, present: Bools) -> pa.Array:
    absent = None if present.all() else ~present
    match kind:
        case Kind.BOOL:
            return pa.array(raws.astype(np.bool_), mask=absent)
        case Kind.FLOAT:
            return pa.array(float_bits(raws), mask=absent)
        case Kind.TIME:
            return _instants(raws, absent)
        case Kind.STRING | Kind.LIST:
            return pa.array(raws.astype(np.uint32), mask=absent)
    given = raws[present]
    small = int(given.min()) >= _INT32.min and int(given.max()) <= _INT32.max
    return pa.array(raws.astype(np.int32) if small else raws, mask=absent)


def _instants(ms: I64, absent: Bools | None) -> pa.Array:
    return pa.array(ms, mask=absent).cast(_INSTANT)


@dataclass(frozen=True, slots=True)
class ChunkColumns:
    """A file of chunks in memory: rows u32[n], times i64[n], and by column (raw values i64[n], presence or None)."""

    rows: npt.NDArray[np.uint32]
    times: I64
    values: Mapping[ColumnKey, tuple[I64, Bools | None]]


def read_chunk_table(table: pa.Table, keys: Sequence[ColumnKey], names: Mapping[int, str]) -> ChunkColumns:
    """The columns `chunk_table` wrote."""
    values = {key: _raws(key[1], _column(table, column_name(names[key[0]], key[1]))) for key in keys}
    rows = _column(table, "row").to_numpy()
    return ChunkColumns(rows, _column(table, "time").cast(pa.int64()).to_numpy(), values)


def _raws(kind: Kind, column: pa.Array) -> tuple[I64, Bools | None]:
    present: Bools | None = None
    if column.null_count:
        present = column.is_valid().to_numpy(zero_copy_only=False)
        column = column.fill_null(False if kind is Kind.BOOL else pa.scalar(0).cast(column.type))
    if kind is Kind.FLOAT:
        floats: npt.NDArray[np.float64] = column.to_numpy()
        return floats.view(np.int64), present
    if kind is Kind.TIME:
        column = column.cast(pa.int64())
    return column.to_numpy(zero_copy_only=False).astype(np.int64), present


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def identifier_table(first: int, offsets: AnyArray, data: U8) -> pa.Table:
    """Identifiers of consecutive rows from row `first` on."""
    rows = pa.array(np.arange(first, first + offsets.shape[0] - 1, dtype=np.uint32))
    return pa.table({"row": rows, "identifier": byte_strings(offsets, data, pa.large_string())})


def string_table(parts: Sequence[tuple[int, int, AnyArray, U8]]) -> pa.Table:
    """Strings by (scope, first code, offsets, bytes); lists stand in a column of their own as msgpack."""
    scopes, codes, texts, lists = list[AnyArray](), list[AnyArray](), list[pa.Array](), list[pa.Array]()
    for scope, first, offsets, data in parts:
        count = offsets.shape[0] - 1
        scopes.append(np.full(count, scope, np.uint32))
        codes.append(np.arange(first, first + count, dtype=np.uint32))
        is_list = scope & 1
        texts.append(pa.nulls(count, pa.large_string()) if is_list else byte_strings(offsets, data, pa.large_string()))
        lists.append(byte_strings(offsets, data, pa.large_binary()) if is_list else pa.nulls(count, pa.large_binary()))
    return pa.table(
        {
            "scope": pa.array(np.concatenate(scopes)),
            "code": pa.array(np.concatenate(codes)),
            "text": pa.chunked_array(texts),
            "list": pa.chunked_array(lists),
        }
    )


def byte_strings(offsets: AnyArray, data: U8, arrow_type: pa.DataType) -> pa.Array:
    """Strings of our form, offsets u32 or i64 [n + 1] from any start, as an Arrow array of a large type."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(arrow_type, offsets.shape[0] - 1, buffers)


def strings_of(table: pa.Table, name: str, start: int, count: int) -> tuple[I64, U8]:
    """(offsets from 0 i64[count + 1], bytes) of consecutive values of a string column."""
    column = table.column(name).slice(start, count).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[column.offset : column.offset + count + 1]
    if data_buffer is None:
        return np.zeros(count + 1, np.int64), np.zeros(0, np.uint8)
    data = np.frombuffer(data_buffer, np.uint8)[int(offsets[0]) : int(offsets[-1])]
    return offsets - offsets[0], data


def instant_table(name: str, ms: I64) -> pa.Table:
    """One column of instants."""
    return pa.table({name: _instants(ms, None)})


def instants_of(table: pa.Table, name: str) -> I64:
    """The column `instant_table` wrote, i64[n]."""
    found: I64 = _column(table, name).cast(pa.int64()).to_numpy()
    return found


def id_table(high: U64, low: U64) -> pa.Table:
    """Hashes of message ids."""
    return pa.table({"high": pa.array(high), "low": pa.array(low)})


def ids_of(table: pa.Table) -> tuple[U64, U64]:
    """The columns `id_table` wrote."""
    return _column(table, "high").to_numpy(), _column(table, "low").to_numpy()


def summary_table(rows: npt.NDArray[np.uint32], counts: I64, first_ms: I64, last_ms: I64) -> pa.Table:
    """What retention left of dropped events, by row."""
    first, last = _instants(first_ms, None), _instants(last_ms, None)
    return pa.table({"row": pa.array(rows), "count": pa.array(counts), "first": first, "last": last})


def summary_of(table: pa.Table) -> tuple[npt.NDArray[np.uint32], I64, I64, I64]:
    """The columns `summary_table` wrote."""
    rows, counts = _column(table, "row").to_numpy(), _column(table, "count").to_numpy()
    return rows, counts, instants_of(table, "first"), instants_of(table, "last")


def to_parquet(table: pa.Table) -> pa.Buffer:
    """Parquet bytes of a table, each column encoded as its type is best."""
    encodings, codecs, dictionaries = dict[str, str](), dict[str, str](), list[str]()
    for field in table.schema:
        encoding, codecs[field.name] = _encoding(field)
        if encoding is None:
            dictionaries.append(field.name)
        else:
            encodings[field.name] = encoding
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=SNAPSHOT_ROW_GROUP_ROWS,
        use_dictionary=dictionaries,
        dictionary_pagesize_limit=_DICTIONARY_BYTES_MAX,
        column_encoding=encodings,
        compression=codecs,
        compression_level={name: 1 for name, codec in codecs.items() if codec == "zstd"},
    )
    return sink.getvalue()


def _encoding(field: pa.Field) -> tuple[str | None, str]:
    if pa.types.is_uint64(field.type) or pa.types.is_boolean(field.type):
        return _PLAIN  # hashes, and what takes a bit
    if pa.types.is_dictionary(field.type):
        return _CODES
    if pa.types.is_floating(field.type) and field.metadata:
        return _DICTIONARY
    if pa.types.is_large_binary(field.type) or pa.types.is_large_string(field.type):
        return _BYTES
    return _STREAMS


def from_parquet(name: str, data: pa.Buffer) -> pa.Table:
    """The table behind Parquet bytes; SnapshotDamaged when they are none."""
    try:
        # Files are small or many, and shards start side by side: threads and read-ahead cost more than they bring.
        return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise SnapshotDamaged(name, str(error)) from error


def union_of_keys(chunks: Sequence[EventChunk]) -> list[ColumnKey]:
    """All columns of some chunks, in order of their numbers."""
    return sorted({key for chunk in chunks for key in chunk.columns})
