"""From a file's columns or fields to the row a cluster takes."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Final

import msgspec

from cdp_router.wire.tables import VALUES
from cdp_store.values import to_datetime, to_ms

_PER_MS: Final = {"us": 1000, "ns": 1_000_000}
_MS_PER: Final = {"s": 1000, "ms": 1}
_TIME_CHARACTERS_MAX: Final = 40
_INTEGER: Final = re.compile(r"-?[0-9]+")
_GUESSES: Final = {
    "user_id": ("user_id", "userId"),
    "anonymous_id": ("anonymous_id", "anonymousId"),
    "event": ("event", "event_name", "name"),
    "time": ("time", "ts", "timestamp"),
    "message_id": ("message_id", "messageId"),
    "properties": ("properties",),
    "attributes": ("attributes", "traits"),
    "identifiers": ("identifiers",),
    "previous_id": ("previous_id", "previousId"),
    # What `cdp export all` writes.
    "profile_kind": ("profile_kind",),
    "profile_id": ("profile_id",),
    "linked_kind": ("linked_kind",),
    "linked_id": ("linked_id",),
    "time_properties": ("time_properties",),
}
_OF_EXPORTS: Final = ("profile_kind", "profile_id", "linked_kind", "linked_id", "time_properties")
_IDENTIFIER: Final = "identifiers."  # begins the names of columns with identifiers of one kind

EXPORTED: Final = "profile_id"  # the column that tells what `cdp export all` has written
TEXTS: Final = ("user_id", "anonymous_id", "event", "message_id")
NO_EVENT: Final = "it has no event name and no attributes; map a column with --event, --event-name or --attributes"
NO_TIME: Final = "it has no time; map a column with --time or give --default-time"

# [name or None, user_id, anonymous_id, time ms, message_id, values, others]: the msgpack row of cdp.v1.
PlainRow = tuple[str | None, str | None, str | None, int, str | None, dict[str, Any]]
WireRow = PlainRow | tuple[str | None, str | None, str | None, int, str | None, dict[str, Any], dict[str, str]]


class RowRejected(Exception):
    """A line or row of the file that is no record; `reason` is what people are told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column holds what; None = take the usual names. See `cdp import --help` for each."""

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
    identifiers: str | None = None
    previous_id: str | None = None
    profile_kind: str | None = None
    profile_id: str | None = None
    linked_kind: str | None = None
    linked_id: str | None = None
    time_properties: str | None = None

    def column(self, role: str, record: Mapping[str, Any]) -> str | None:
        """The column of a role in this record, or None when there is none."""
        given: str | None = getattr(self, role)
        if given is not None:
            return given if given in record else None
        return next((name for name in _GUESSES[role] if name in record), None)

    def columns(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        """The column of each role in this record; what an export has counts only where all of it is there."""
        found = {role: self.column(role, record) for role in _GUESSES}
        if found["linked_kind"] is None or found["linked_id"] is None:
            found |= dict.fromkeys(("linked_kind", "linked_id"))
        if found["profile_kind"] is None or found["profile_id"] is None:
            found |= dict.fromkeys(_OF_EXPORTS)
        return found


class WrittenRecord(dict[str, Any]):
    """A record read from text: the values as they are meant, and in `written` the text of each."""

    def __init__(self, values: Mapping[str, Any], written: Mapping[str, str]) -> None:
        super().__init__(values)
        self.written = written


@dataclass(frozen=True, slots=True)
class _Roles:
    """The columns of records with the same names."""

    texts: tuple[tuple[str, str | None], ...]
    nested: tuple[str | None, str | None]
    time: str | None
    has_attributes: bool
    identifiers: tuple[str | None, str | None, tuple[str, ...]]
    exported: tuple[tuple[str, str], ...]
    times: str | None
    rest: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def _roles(mapping: ColumnMapping, names: tuple[str, ...]) -> _Roles:
    """Most records of a file have the names of the one before."""
    columns = mapping.columns(dict.fromkeys(names))
    used = set(columns.values())
    texts = tuple((role, columns[role]) for role in TEXTS)
    nested = columns["properties"], columns["attributes"]
    rest = tuple(name for name in names if name not in used and not name.startswith(_IDENTIFIER))
    kinds = tuple(name for name in names if name not in used and name.startswith(_IDENTIFIER))
    identifiers = columns["identifiers"], columns["previous_id"], kinds
    pairs = ((columns[f"{whose}_kind"], columns[f"{whose}_id"]) for whose in ("profile", "linked"))
    exported = tuple((kind, name) for kind, name in pairs if kind is not None and name is not None)
    has_attributes = columns["attributes"] is not None or bool(exported)
    return _Roles(
        texts, nested, columns["time"], has_attributes, identifiers, exported, columns["time_properties"], rest
    )


def to_row(record: Mapping[str, Any], mapping: ColumnMapping) -> WireRow:
    """The wire row of a record; RowRejected says what is missing."""
    roles = _roles(mapping, tuple(record))
    # Ids and names are text: 007 and 1e5 must not turn into numbers on the way.
    written = record.written if isinstance(record, WrittenRecord) else record
    user_id, anonymous_id, event, message_id = [_text(role, _value(written, column)) for role, column in roles.texts]
    values = dict[str, Any]()
    for column in roles.nested:
        values |= _nested(column, _value(record, column))
    for name in roles.rest:
        if (value := record[name]) is not None:
            values |= _named(value) if roles.exported and name == VALUES else {name: value}
    for name in _names(_value(record, roles.times)):
        values[name] = to_datetime(_time_ms(values.get(name), mapping))
    event = event or mapping.event_name
    others = _others(record, written, roles)
    if event is None and not roles.has_attributes and not others:
        raise RowRejected(NO_EVENT)
    plain = event, user_id, anonymous_id, _time_ms(_value(record, roles.time), mapping), message_id, values
    return (*plain, others) if others else plain


def _others(record: Mapping[str, Any], written: Mapping[str, Any], roles: _Roles) -> dict[str, str]:
    """Identifiers by kind besides user id and anonymous id; the previous one of an alias is an anonymous id."""
    nested, previous, kinds = roles.identifiers
    given = {str(kind): _text(str(kind), value) for kind, value in _nested(nested, _value(record, nested)).items()}
    given |= {name.removeprefix(_IDENTIFIER): _text(name, written[name]) for name in kinds}
    for kind, name in roles.exported:
        given.setdefault(str(written[kind]), _text(name, written[name]))
    given.setdefault("anonymous_id", _text("previous_id", _value(written, previous)))
    return {kind: value for kind, value in given.items() if value}


def _value(record: Mapping[str, Any], column: str | None) -> Any:
    return None if column is None else record[column]


def _nested(column: str | None, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        value = _decoded(str(column), value)
    if not isinstance(value, dict):
        raise RowRejected(f"column {column!r} must hold a map of names to values")
    return value


def _named(values: Any) -> dict[str, Any]:
    """Named values as an export to Parquet holds them: of each the name and what is not null; nothing: removed."""
    if not isinstance(values, list) or not all(isinstance(each, dict) and "name" in each for each in values):
        raise RowRejected(f"column {VALUES!r} of an export holds something else")
    return {each["name"]: _only(each) for each in values}


def _only(value: Mapping[str, Any]) -> Any:
    found = next(((kind, each) for kind, each in value.items() if kind != "name" and each is not None), None)
    if found is None:
        return None
    return _decoded(VALUES, found[1]) if found[0] == "list" else found[1]


def _names(value: Any) -> list[str]:
    """Names of properties, as a list or JSON."""
    names = _decoded("time_properties", value) if isinstance(value, str) and value else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RowRejected("time_properties must be a list of names")
    return names


def _decoded(column: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RowRejected(f"column {column!r} holds no JSON: {error}") from error


def _text(role: str, value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            pass
        case int():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
    raise RowRejected(f"{role} must be text, not {type(value).__name__} {str(value)[:40]!r}")


def _time_ms(value: Any, mapping: ColumnMapping) -> int:
    match value:
        case None | "":
            if mapping.default_time_ms is None:
                raise RowRejected(NO_TIME)
            return mapping.default_time_ms
        case bool():
            raise RowRejected(f"time {value!r} is no time")
        case int() | float():
            return _counted_ms(value, mapping.time_unit)
        case datetime():
            return to_ms(value if value.tzinfo else value.replace(tzinfo=UTC))
        case date():
            return to_ms(datetime(value.year, value.month, value.day, tzinfo=UTC))
        case str():
            return _parsed_ms(value, mapping.time_unit)
    raise RowRejected(f"time {str(value)[:40]!r} is no time")


def _counted_ms(count: int | float, unit: str) -> int:
    """Milliseconds of a count of units, rounded down; a float's rounding error does not cost a millisecond."""
    if not math.isfinite(count):
        raise RowRejected(f"time {count!r} is no time")
    exact = Fraction(repr(count))
    return math.floor(exact * _MS_PER[unit] if unit in _MS_PER else exact / _PER_MS[unit])


def _parsed_ms(text: str, unit: str) -> int:
    if len(text) > _TIME_CHARACTERS_MAX:
        raise RowRejected(f"time {text[:40]!r}... is no ISO date or time")
    if _INTEGER.fullmatch(text):
        return _counted_ms(int(text), unit)
    try:
        instant = datetime.fromisoformat(text)
        return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise RowRejected(f"time {text[:40]!r} is no ISO date or time: {error}") from error
