"""From a file's columns or fields to the row a cluster takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from cdp_store.values import to_ms

_UNITS_MS: Final = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_GUESSES: Final = {
    "user_id": ("user_id", "userId"),
    "anonymous_id": ("anonymous_id", "anonymousId"),
    "event": ("event", "event_name", "name"),
    "time": ("time", "ts", "timestamp"),
    "message_id": ("message_id", "messageId"),
    "properties": ("properties",),
    "attributes": ("attributes", "traits"),
}

# [name or None, user_id, anonymous_id, time ms, message_id, values]: the msgpack row of cdp.v1.
WireRow = tuple[str | None, str | None, str | None, int, str | None, dict[str, Any]]


class RowRejected(Exception):
    """A line or row of the file that is no record; `reason` is what people are told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column holds what; None = take the usual names. See `cdp ingest --help` for each."""

    user_id: str | None = None
    anonymous_id: str | None = None
    event: str | None = None
    time: str | None = None
    message_id: str | None = None
    properties: str | None = None
    attributes: str | None = None
    event_name: str | None = None
    default_time_ms: int | None = None
    time_unit: str = "ms"

    def column(self, role: str, record: Mapping[str, Any]) -> str | None:
        """The column of a role in this record, or None when there is none."""
        given: str | None = getattr(self, role)
        if given is not None:
            return given if given in record else None
        return next((name for name in _GUESSES[role] if name in record), None)


def to_row(record: Mapping[str, Any], mapping: ColumnMapping) -> WireRow:
    """The wire row of a record; RowRejected says what is missing."""
    columns = {role: mapping.column(role, record) for role in _GUESSES}
    values = {role: None if name is None else record[name] for role, name in columns.items()}
    used = {name for name in columns.values() if name is not None}
    rest = {name: value for name, value in record.items() if name not in used and value is not None}
    name = mapping.event_name if values["event"] is None else values["event"]
    nested = _nested(columns["properties"], values["properties"]) | _nested(columns["attributes"], values["attributes"])
    is_attributes = columns["attributes"] is not None and name is None
    if name is None and not is_attributes:
        raise RowRejected(
            "it has no event name and no attributes; map a column with --event, --event-name or --attributes"
        )
    return (
        None if name is None else str(name),
        _text(values["user_id"]),
        _text(values["anonymous_id"]),
        _time_ms(values["time"], mapping),
        _text(values["message_id"]),
        nested | rest,
    )


def _nested(column: str | None, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise RowRejected(f"column {column!r} holds no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RowRejected(f"column {column!r} must hold a map of names to values")
    return value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value)


def _time_ms(value: Any, mapping: ColumnMapping) -> int:
    match value:
        case None if mapping.default_time_ms is not None:
            return mapping.default_time_ms
        case None | "":
            raise RowRejected("it has no time; map a column with --time or give --default-time")
        case bool():
            raise RowRejected(f"time {value!r} is no time")
        case int() | float():
            return int(value * _UNITS_MS[mapping.time_unit])
        case datetime():
            return to_ms(value if value.tzinfo else value.replace(tzinfo=UTC))
        case date():
            return to_ms(datetime(value.year, value.month, value.day, tzinfo=UTC))
    return _parsed_time_ms(str(value), mapping)


def _parsed_time_ms(text: str, mapping: ColumnMapping) -> int:
    if text.lstrip("-").isdigit():
        return int(int(text) * _UNITS_MS[mapping.time_unit])
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise RowRejected(f"time {text!r} is no ISO date or time: {error}") from error
    return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
