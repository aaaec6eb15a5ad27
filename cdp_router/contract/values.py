"""Values, identifiers and instants on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cdp.v1 import ingest_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from cdp_router.contract.python_values import plain_value, property_name
from cdp_router.errors import RecordInvalid
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records import rules
from cdp_store.values import to_datetime, to_ms


def from_value(value: ingest_pb2.Value, name: str = "") -> Any:
    """Python value of a message; no kind is None. `name` is for messages."""
    match value.WhichOneof("kind"):
        case "boolean":
            return value.boolean
        case "integer":
            return value.integer
        case "number":
            return value.number
        case "text":
            return value.text
        case "time":
            return from_timestamp(value.time, repr(name))
        case "list":
            return [from_value(item, name) for item in value.list.items]
        case "map":
            return {key: from_value(item, f"{name}.{key}") for key, item in value.map.fields.items()}
    return None


def to_value(value: Any, name: str = "value") -> ingest_pb2.Value:
    """Message of a Python value; `contract/python_values.py` lists the conversions and the refusals."""
    match value:
        case None:
            return ingest_pb2.Value()
        case bool():
            return ingest_pb2.Value(boolean=value)
        case int() if -(1 << 63) <= value < 1 << 63:
            return ingest_pb2.Value(integer=value)
        case float():
            return ingest_pb2.Value(number=value)
        case str():
            return ingest_pb2.Value(text=value)
        case datetime() if type(value) is datetime:
            return ingest_pb2.Value(time=to_timestamp(to_ms(value)))
        case list():
            return ingest_pb2.Value(list=ingest_pb2.ValueList(items=[to_value(item, name) for item in value]))
        case dict():
            return ingest_pb2.Value(map=ingest_pb2.ValueMap(fields=to_values(value)))
    return to_value(plain_value(name, value))


def to_values(values: Mapping[str, Any]) -> dict[str, ingest_pb2.Value]:
    """Messages of a map of Python values."""
    return {property_name(key): to_value(value, key) for key, value in values.items()}


def to_timestamp(ms: int) -> Timestamp:
    """Message of epoch milliseconds."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def from_timestamp(stamp: Timestamp, what: str = "time") -> datetime:
    """Aware instant of a message; RecordInvalid beyond the years 1 to 9999."""
    return to_datetime(from_timestamp_ms(stamp, what)).astimezone(UTC)


def from_timestamp_ms(stamp: Timestamp, what: str = "time") -> int:
    """Epoch milliseconds of a message; RecordInvalid, which calls the time `what`, beyond the years 1 to 9999."""
    ms = stamp.seconds * 1000 + stamp.nanos // 1_000_000
    if not 0 <= stamp.nanos < 1_000_000_000:
        raise RecordInvalid.of(rules.TIME_NANOSECONDS, what=what, nanos=stamp.nanos)
    if not TIME_MIN_MS <= ms <= TIME_MAX_MS:
        raise RecordInvalid.of(rules.TIME_YEARS, what=what)
    return ms
