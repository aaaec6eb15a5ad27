"""The same records in each of the three encodings a batch can have."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from cdp.v1 import ingest_pb2

from cdp_router.contract.values import to_timestamp, to_values

DAY_MS = 86_400_000
_BATCH_NUMBERS = itertools.count()


class Sent(NamedTuple):
    """A record as a client thinks of it; name None is an attribute change."""

    name: str | None
    user_id: str
    time_ms: int
    values: dict[str, Any]
    anonymous_id: str = ""
    message_id: str = ""


def fresh_batch_id() -> bytes:
    """A batch id no other batch of this test run has."""
    return b"batch-%d" % next(_BATCH_NUMBERS)


def instant(ms: int) -> datetime:
    """UTC instant of epoch milliseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def message_of(record: Sent) -> ingest_pb2.Record:
    """The record as a protobuf message."""
    message = ingest_pb2.Record(
        user_id=record.user_id,
        anonymous_id=record.anonymous_id,
        time=to_timestamp(record.time_ms),
        message_id=record.message_id,
    )
    if record.name is None:
        message.attributes.CopyFrom(ingest_pb2.AttributesRecord(attributes=to_values(record.values)))
    else:
        message.event.CopyFrom(ingest_pb2.EventRecord(name=record.name, properties=to_values(record.values)))
    return message


def protobuf_batch(records: Iterable[Sent], batch_id: bytes | None = None) -> ingest_pb2.Batch:
    """A batch of protobuf rows."""
    rows = ingest_pb2.RecordRows(records=map(message_of, records))
    return ingest_pb2.Batch(batch_id=batch_id or fresh_batch_id(), rows=rows)


def msgpack_row(record: Sent) -> list[Any]:
    """The record as the array of the contract."""
    return [record.name, record.user_id, record.anonymous_id, record.time_ms, record.message_id, record.values]


def msgpack_batch(rows: Iterable[Any], batch_id: bytes | None = None) -> ingest_pb2.Batch:
    """A batch of msgpack rows, whatever they are."""
    return ingest_pb2.Batch(batch_id=batch_id or fresh_batch_id(), msgpack_rows=msgspec.msgpack.encode(list(rows)))


def arrow_batch(table: pa.Table | pa.RecordBatch, batch_id: bytes | None = None) -> ingest_pb2.Batch:
    """A batch of Arrow columns."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return ingest_pb2.Batch(batch_id=batch_id or fresh_batch_id(), arrow_columns=sink.getvalue().to_pybytes())


def arrow_table(records: Sequence[Sent], types: dict[str, pa.DataType]) -> pa.Table:
    """The records as a table; `types` gives the type of each property column, nested values have dotted names."""
    flat = [dict(dotted(record.values)) for record in records]
    columns: dict[str, pa.Array] = {
        "user_id": pa.array([record.user_id or None for record in records], pa.string()),
        "anonymous_id": pa.array([record.anonymous_id or None for record in records], pa.string()),
        "time": pa.array([record.time_ms for record in records], pa.timestamp("ms")),
        "event": pa.array([record.name for record in records], pa.string()),
        "message_id": pa.array([record.message_id or None for record in records], pa.string()),
    }
    for name, kind in types.items():
        columns[name] = pa.array([values.get(name) for values in flat], kind)
    return pa.table(columns)


def dotted(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Values under the dotted names they have inside objects."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
