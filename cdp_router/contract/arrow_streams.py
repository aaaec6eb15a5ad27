"""Arrow tables on the wire."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

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
VALUES: Final = "values"  # the type of such a column


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
