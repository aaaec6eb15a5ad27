"""Keys of groups on the wire."""

from __future__ import annotations

from datetime import datetime

from cdp.v1 import ingest_pb2

from cdp_query.reports.value_keys import NONE_KEY, ValueKey, list_key, number_key
from cdp_router.contract.values import from_value, to_timestamp, to_value
from cdp_store.values import Kind, to_datetime, to_ms, unpack_list


def to_key_value(key: ValueKey) -> ingest_pb2.Value:
    """Message of a breakdown's value."""
    kind, value = key
    if kind == Kind.TIME and isinstance(value, str):
        return ingest_pb2.Value(time=to_timestamp(to_ms(datetime.fromisoformat(value))))
    if kind == Kind.LIST and isinstance(value, str):
        return to_value(unpack_list(bytes.fromhex(value)))
    return to_value(value)


def from_key_value(message: ingest_pb2.Value) -> ValueKey:
    """Key of a message; without kind it is "(none)"."""
    match message.WhichOneof("kind"):
        case "boolean":
            return int(Kind.BOOL), message.boolean
        case "integer":
            return int(Kind.INT), message.integer
        case "number":
            return number_key(message.number)
        case "text":
            return int(Kind.STRING), message.text
        case "time":
            return int(Kind.TIME), to_datetime(message.time.ToMilliseconds()).isoformat()
        case "list":
            return list_key(from_value(message))
    return NONE_KEY
