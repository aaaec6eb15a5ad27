"""Arrow tables on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import pyarrow as pa
from google.protobuf.message import Message

INSTANT: Final = pa.timestamp("ms", tz="UTC")
# A value with its name; if only the name is not null, the value was removed.
VALUE: Final = pa.struct(
    [
        ("name", pa.string()),
        ("boolean", pa.bool_()),
        ("integer", pa.int64()),
        ("number", pa.float64()),
        ("text", pa.string()),
        ("time", INSTANT),
        ("list", pa.string()),
    ]
)
Pieces: TypeAlias = Sequence[bytes | memoryview]  # of what follows one another; of bytes that are not copied
VALUES: Final = "values"  # the type of such a column
END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"  # a message without metadata
_BYTES_FIELD: Final = 2  # its wire type in protobuf


def is_values(field: pa.Field) -> bool:
    """Tests whether a column holds named values of records."""
    kind = field.type
    if field.name != VALUES or not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_struct(kind.value_type)) and kind.value_type.names == VALUE.names


def to_stream(table: pa.Table) -> bytes:
    """An Arrow stream of one table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def from_stream(stream: bytes) -> pa.Table:
    """The table in a stream."""
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def with_arrow(message: Message, pieces: Pieces) -> Pieces:
    """A message with a stream in its field `arrow`, encoded.

    Protobuf would copy the stream twice, to memory that is new each time. In the encoded form, a message is followed by
    one field more.
    """
    field: int = message.DESCRIPTOR.fields_by_name["arrow"].number << 3 | _BYTES_FIELD
    if not pieces:
        return (message.SerializeToString(),)
    return (message.SerializeToString() + _varint(field) + _varint(sum(map(len, pieces))), *pieces)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
