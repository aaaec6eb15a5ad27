"""Between a partition's arrays and Arrow tables, and between tables and Parquet bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cdp_store.arrays import I64, U8, U64, AnyArray, Bools
from cdp_store.errors import SnapshotDamaged
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.limits import SNAPSHOT_ROW_GROUP_ROWS

INSTANT: Final = pa.timestamp("ms", tz="UTC")
# (encoding, compression) by measurement on events of the yardstick, bytes and ns to write and to read a value: rows
# 1.0 B, 9 and 3 ns (delta and zstd: 0.6 B, 13 and 6 ns); times 4.3 B, 10 and 3 ns (delta: 4.1 B, 14 and 3 ns);
# codes and integers 0.6 to 1.0 B, 7 and 2 ns (delta and zstd: 0.5 to 0.9 B, 10 and 4 ns); decimals such as prices
# 1.3 B, 14 and 2 ns as dictionaries (byte streams: 3.8 B); bools 0.1 B, 8 and 4 ns (runs and zstd: the same size, 17
# and 5 ns); strings 13 B, 47 and 12 ns (zstd: 7.5 B, 119 and 40 ns); codes of texts 3.0 B, 20 and 12 ns
# (zstd: 2.4 B, 41 and 11 ns).
_STREAMS: Final = ("BYTE_STREAM_SPLIT", "lz4")
_BYTES: Final = ("PLAIN", "lz4")
_DICTIONARY: Final = (None, "none")
_CODES: Final = (None, "lz4")
_DICTIONARY_BYTES_MAX: Final = 1 << 26  # far beyond what one file can need: a column of few texts stays one
_VALUES_AT_ONCE: Final = 1 << 16  # a tenth quicker than the library's 1,024
_PRUNED_BY: Final = ("row", "time")  # bounds of other columns would cost a tenth more, and few readers prune by them
_PLAIN: Final = ("PLAIN", "none")
DECIMAL: Final = {b"decimal": b"1"}  # marks a float column with few digits, whose values repeat


def instants(ms: I64, absent: Bools | None = None) -> pa.Array:
    """Instants, i64[n] in milliseconds, as an Arrow array; null where absent."""
    return pa.array(ms, mask=absent).view(INSTANT)


def values_of(column: pa.Array) -> AnyArray:
    """The values of a column of fixed width, without copying if possible; undefined where null."""
    if pa.types.is_boolean(column.type):
        bools: Bools = (column.fill_null(False) if column.null_count else column).to_numpy(zero_copy_only=False)
        return bools
    dtype = np.int64 if pa.types.is_timestamp(column.type) else column.type.to_pandas_dtype()
    values: AnyArray = np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * np.dtype(dtype).itemsize)
    return values


def column_of(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def identifier_table(first: int, offsets: AnyArray, data: U8) -> pa.Table:
    """Identifiers of consecutive rows, starting at row `first`."""
    rows = pa.array(np.arange(first, first + offsets.shape[0] - 1, dtype=np.uint32))
    return pa.table({"row": rows, "identifier": byte_strings(offsets, data, pa.large_string())})


def string_table(parts: Sequence[tuple[int, int, AnyArray, U8]]) -> pa.Table:
    """Strings by (scope, first code, offsets, bytes); lists are in a column of their own as msgpack."""
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


def instants_of(table: pa.Table, name: str) -> I64:
    """A column of instants in milliseconds, i64[n]."""
    found: I64 = column_of(table, name).cast(pa.int64()).to_numpy()
    return found


def id_table(high: U64, low: U64) -> pa.Table:
    """Hashes of message ids."""
    return pa.table({"high": pa.array(high), "low": pa.array(low)})


def ids_of(table: pa.Table) -> tuple[U64, U64]:
    """The columns `id_table` wrote."""
    return column_of(table, "high").to_numpy(), column_of(table, "low").to_numpy()


def summary_table(rows: npt.NDArray[np.uint32], counts: I64, first_ms: I64, last_ms: I64) -> pa.Table:
    """Summary of dropped events, by row."""
    first, last = instants(first_ms), instants(last_ms)
    return pa.table({"row": pa.array(rows), "count": pa.array(counts), "first": first, "last": last})


def summary_of(table: pa.Table) -> tuple[npt.NDArray[np.uint32], I64, I64, I64]:
    """The columns `summary_table` wrote."""
    rows, counts = column_of(table, "row").to_numpy(), column_of(table, "count").to_numpy()
    return rows, counts, instants_of(table, "first"), instants_of(table, "last")


def without_levels(table: pa.Table) -> pa.Table:
    """The table with its columns without nulls marked as such: a start would decode a level for each of their values,
    a tenth of its work."""
    fields = [field.with_nullable(bool(table.column(at).null_count)) for at, field in enumerate(table.schema)]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, table.schema.metadata))


def to_parquet(table: pa.Table) -> pa.Buffer:
    """Parquet bytes of a table, each column in the encoding that suits its type."""
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
        write_batch_size=_VALUES_AT_ONCE,
        write_statistics=[name for name in table.schema.names if name in _PRUNED_BY],
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
    """The table in Parquet bytes; SnapshotDamaged if they are none."""
    try:
        # Files are small or many, and shards start at the same time: threads and read-ahead cost more than they save.
        return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise SnapshotDamaged(name, str(error)) from error


def union_of_keys(chunks: Sequence[EventChunk]) -> list[ColumnKey]:
    """All columns of some chunks, in order of their numbers."""
    return sorted({key for chunk in chunks for key in chunk.columns})
