"""Sizes that a stream of Arrow columns expands to, read from the metadata of its messages before decoding.

A message is a flatbuffer (Arrow's Message.fbs) and a body. pyarrow verifies the flatbuffer before it returns the
message. This module reads the four numbers it needs: rows, lengths of arrays, lengths of buffers, and the length after
decompression in the first 8 bytes of each compressed buffer. pyarrow decompresses into exactly that much memory, so a
stream cannot grow beyond its stated size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdp_router.errors import RequestInvalid, RequestTooLarge
from cdp_router.limits import (
    COLUMNS_BYTES_MAX,
    COLUMNS_GROWTH_MAX,
    COLUMNS_PLAIN_BYTES,
    COLUMNS_VALUES,
    RECORDS_MAX,
    VALUE_BYTES_MIN,
)
from cdp_router.records.column_checks import FIELD

_HEADER, _DICTIONARY_DATA = 2, 1  # fields of Message and DictionaryBatch
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3  # fields of RecordBatch
_LENGTH_BYTES: Final = 8  # at the start of a compressed buffer
_NOT_COMPRESSED: Final = -1

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows, values (the lengths of all arrays, with nested ones and dictionaries) and bytes after decompression."""

    records: int
    values: int
    plain_bytes: int

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(self.records + other.records, self.values + other.values, self.plain_bytes + other.plain_bytes)


def check_stream(stream: bytes) -> None:
    """Refuses a stream that expands to more than its bytes allow; RequestInvalid if it cannot be read."""
    values_max = max(COLUMNS_VALUES, len(stream) // VALUE_BYTES_MIN)
    bytes_max = plain_bytes_max(len(stream))
    total = Sizes(0, 0, 0)
    for sizes in _sizes(stream):
        total += sizes
        _check(total.records, RECORDS_MAX, "records")
        _check(total.values, values_max, "values")
        _check(total.plain_bytes, bytes_max, "bytes after decompression")


def plain_bytes_max(size: int) -> int:
    """Limit of the bytes that a stream of this size may expand to, decompressed and with dictionaries written out."""
    return min(COLUMNS_BYTES_MAX, max(COLUMNS_PLAIN_BYTES, COLUMNS_GROWTH_MAX * size))


def _check(number: int, limit: int, what: str) -> None:
    if number > limit:
        raise RequestTooLarge(FIELD, f"stands for {number} {what}; for its size the limit is {limit}")


def _sizes(stream: bytes) -> Iterator[Sizes]:
    """The sizes of each message that contains data."""
    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(stream)):
            if message.type in ("record batch", "dictionary"):
                header = _Table.root(memoryview(message.metadata)).table(_HEADER)
                is_dictionary = message.type == "dictionary"
                batch = header.table(_DICTIONARY_DATA) if is_dictionary else header
                yield _sizes_of(batch, message.body, counts_rows=not is_dictionary)
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError) as error:
        raise RequestInvalid(FIELD, f"is not an Arrow IPC stream: {error}") from error


def _sizes_of(batch: _Table, body: pa.Buffer, *, counts_rows: bool) -> Sizes:
    rows, lengths = batch.integer(_LENGTH), batch.pairs(_NODES)[:, 0]
    buffers = batch.pairs(_BUFFERS)
    if rows < 0 or (lengths < 0).any() or (buffers < 0).any():
        raise ValueError("a message has a negative length")
    is_compressed = batch.has(_COMPRESSION)
    plain = _decompressed(buffers, body) if is_compressed else buffers[:, 1]
    return Sizes(rows if counts_rows else 0, _total(lengths), _total(plain))


def _decompressed(buffers: Numbers, body: pa.Buffer) -> Numbers:
    """The length of each compressed buffer after decompression: i64[buffers]."""
    sizes = buffers[:, 1]
    starts = buffers[:, 0][sizes >= _LENGTH_BYTES]
    if starts.size and int(starts.max()) > len(body) - _LENGTH_BYTES:
        raise ValueError("a buffer is outside its message")
    data = np.frombuffer(body, np.uint8)
    told = np.ascontiguousarray(data[starts[:, None] + np.arange(_LENGTH_BYTES)]).view("<i8")[:, 0]
    plain: Numbers = np.zeros(sizes.shape[0], np.int64)
    plain[sizes >= _LENGTH_BYTES] = np.where(told == _NOT_COMPRESSED, sizes[sizes >= _LENGTH_BYTES], told)
    if (plain < 0).any():
        raise ValueError("a compressed buffer has a negative length")
    return plain


def _total(numbers: Numbers) -> int:
    """The sum, which cannot overflow."""
    return int(numbers.astype(np.float64).sum()) if numbers.size else 0


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer: fields are found through its vtable."""

    data: memoryview
    at: int

    @staticmethod
    def root(data: memoryview) -> _Table:
        return _Table(data, struct.unpack_from("<I", data, 0)[0])

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def integer(self, field: int) -> int:
        """A field of 64 bits; 0 where it is left out."""
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from("<q", self.data, place)[0])

    def table(self, field: int) -> _Table:
        place = self._place(field)
        if place is None:
            raise ValueError("a message lacks its header")
        return _Table(self.data, self._target(place))

    def pairs(self, field: int) -> Numbers:
        """A vector of structs of two 64-bit integers: i64[n, 2]."""
        place = self._place(field)
        if place is None:
            return np.zeros((0, 2), np.int64)
        start = self._target(place)
        count = struct.unpack_from("<I", self.data, start)[0]
        return np.frombuffer(self.data, "<i8", 2 * count, start + 4).reshape(-1, 2)

    def _target(self, place: int) -> int:
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def _place(self, field: int) -> int | None:
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        slot = 4 + 2 * field
        if vtable < 0 or slot >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + slot)[0]
        return self.at + offset if offset else None
