"""Logged batches as a table of cold columns, a row per record in order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.errors import BatchMalformed
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.records.records import ATTRIBUTES

_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("sequence", pa.int64()),
        ("partition", pa.uint16()),
        ("received", _INSTANT),
        ("time", _INSTANT),
        ("name", _TEXT),
        ("identifier", _TEXT),
        ("message_id", pa.large_string()),
        ("envelope", _TEXT),
    ]
)
_NO_ENVELOPES: Final = (memoryview(bytes(8)), memoryview(b""))  # a table of one empty text


class _Payload(msgspec.Struct, frozen=True):
    """Part of a batch that is read; the bytes of its columns are not copied."""

    received_ms: int
    names: list[str]
    record_names: memoryview
    record_times: memoryview
    record_identities: memoryview
    identities: tuple[memoryview, memoryview]  # offsets, data
    message_ids: tuple[memoryview, memoryview]
    envelopes: tuple[memoryview, memoryview] | None = None
    record_envelopes: memoryview | None = None


_DECODER: Final = msgspec.msgpack.Decoder(_Payload)


@dataclass(frozen=True, slots=True)
class LoggedBatch:
    """The cold part of a logged batch, as its bytes: read without its properties."""

    sequence: SequenceNumber
    columns: _Payload

    def __len__(self) -> int:
        return len(self.columns.record_times) // 8

    @staticmethod
    def decode(sequence: SequenceNumber, payload: bytes) -> LoggedBatch:
        """The cold part of a payload of kind BATCH, which was checked before it was logged."""
        try:
            return LoggedBatch(sequence, _DECODER.decode(payload))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BatchMalformed(f"{type(error).__name__}: {error}") from error


def table_of(partition: PartitionId, batches: Sequence[LoggedBatch]) -> pa.Table:
    """The records of batches, in order."""
    counts: I64 = np.array([len(batch) for batch in batches], np.int64)
    sequences: I64 = np.array([batch.sequence for batch in batches], np.int64)
    received: I64 = np.array([batch.columns.received_ms for batch in batches], np.int64)
    times: I64 = np.frombuffer(b"".join([batch.columns.record_times for batch in batches]), np.int64)
    columns = [
        pa.array(np.repeat(sequences, counts)),
        pa.array(np.full(times.shape[0], partition, np.uint16)),
        pa.array(np.repeat(received, counts)).cast(_INSTANT),
        pa.array(times).cast(_INSTANT),
        _names(batches, counts),
        _identifiers(batches, counts),
        _message_ids(batches),
        _envelopes(batches, counts),
    ]
    return pa.table(columns, schema=SCHEMA)


def completed(table: pa.Table) -> pa.Table:
    """A table with all columns, from a file that may be older than some of them."""
    for field in SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables one after the other, in one piece."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def chosen(table: pa.Table, keep: Bools) -> pa.Table:
    """The rows to keep; texts that only other rows have are not in its dictionaries any more."""
    rows = table.filter(pa.array(keep))
    for place, name in enumerate(rows.schema.names):
        if pa.types.is_dictionary(rows.schema.field(place).type):
            texts, codes = encoded_text(rows, name)
            used, places = np.unique(codes[codes >= 0], return_inverse=True)
            numbers: I64 = np.zeros(codes.shape[0], np.int64)
            numbers[codes >= 0] = places
            column = pa.array(numbers.astype(np.int32), mask=codes < 0)
            encoded = pa.DictionaryArray.from_arrays(column, texts.take(pa.array(used)))
            rows = rows.set_column(place, rows.schema.field(place), encoded)
    return rows


def encoded_text(table: pa.Table, name: str) -> tuple[pa.Array, I64]:
    """(distinct texts, the number of each row's text among them i64[n] or -1) of a dictionary column."""
    column = table.column(name)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], _TEXT)
    codes: I64 = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return column.dictionary, codes


def _names(batches: Sequence[LoggedBatch], counts: I64) -> pa.Array:
    numbers: U16 = np.frombuffer(b"".join([batch.columns.record_names for batch in batches]), np.uint16)
    texts = pa.array([name for batch in batches for name in batch.columns.names], pa.string()).dictionary_encode()
    bases = _bases([len(batch.columns.names) for batch in batches])
    none: Bools = numbers == ATTRIBUTES
    places = np.where(none, 0, numbers) + np.repeat(bases, counts)
    if not len(texts):
        return pa.nulls(numbers.shape[0], _TEXT)
    codes = texts.indices.to_numpy()[np.minimum(places, len(texts) - 1)]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=none), texts.dictionary)


def _identifiers(batches: Sequence[LoggedBatch], counts: I64) -> pa.Array:
    owners: U32 = np.frombuffer(b"".join([batch.columns.record_identities for batch in batches]), np.uint32)
    offsets, data = _strings([batch.columns.identities for batch in batches])
    texts = _large_strings(offsets, data, None).dictionary_encode()
    bases = _bases([len(batch.columns.identities[0]) // 4 - 1 for batch in batches])
    codes = texts.indices.to_numpy()[owners + np.repeat(bases, counts)]
    return pa.DictionaryArray.from_arrays(pa.array(codes), texts.dictionary.cast(pa.string()))


def _message_ids(batches: Sequence[LoggedBatch]) -> pa.Array:
    offsets, data = _strings([batch.columns.message_ids for batch in batches])
    return _large_strings(offsets, data, np.diff(offsets) > 0)


def _envelopes(batches: Sequence[LoggedBatch], counts: I64) -> pa.Array:
    if all(batch.columns.record_envelopes is None for batch in batches):
        return pa.nulls(int(counts.sum()), _TEXT)
    tables = [batch.columns.envelopes or _NO_ENVELOPES for batch in batches]
    given = [batch.columns.record_envelopes or bytes(4 * len(batch)) for batch in batches]
    numbers: U32 = np.frombuffer(b"".join(given), np.uint32)
    texts = _large_strings(*_strings(tables), None).dictionary_encode()
    codes = texts.indices.to_numpy()[numbers + np.repeat(_bases([len(each[0]) // 4 - 1 for each in tables]), counts)]
    none = np.asarray(pc.equal(texts.dictionary, "").to_numpy(zero_copy_only=False))[codes]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=none), texts.dictionary.cast(pa.string()))


def _bases(sizes: Sequence[int]) -> I64:
    ends: I64 = np.cumsum(np.array(sizes, np.int64))
    return ends - np.array(sizes, np.int64)


def _strings(tables: Sequence[tuple[memoryview, memoryview]]) -> tuple[I64, U8]:
    """(offsets i64[n + 1], bytes) of all strings of tables of our form, u32 offsets from 0 each."""
    every: U32 = np.frombuffer(b"".join([offsets for offsets, _ in tables]), np.uint32)
    firsts = _bases([len(offsets) // 4 for offsets, _ in tables])
    # Between two tables the difference is no size of a string.
    sizes = np.delete(np.diff(every), firsts[1:] - 1).astype(np.int64)
    offsets: I64 = np.append(0, np.cumsum(sizes))
    return offsets, np.frombuffer(b"".join([data for _, data in tables]), np.uint8)


def _large_strings(offsets: I64, data: U8, given: Bools | None) -> pa.Array:
    valid = None if given is None or given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), offsets.shape[0] - 1, buffers)
