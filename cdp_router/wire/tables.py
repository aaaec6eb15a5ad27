"""Arrow tables on the wire."""

from __future__ import annotations

import pyarrow as pa


def to_stream(table: pa.Table) -> bytes:
    """An Arrow stream of one table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def from_stream(stream: bytes) -> pa.Table:
    """The table behind a stream."""
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()
