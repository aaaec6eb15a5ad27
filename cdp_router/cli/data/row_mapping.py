"""Converts the columns or fields of a file to the rows that a cluster accepts."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from cdp_router.contract.arrow_streams import VALUES
from cdp_router.importing.arrow_values import Sparse
from cdp_router.importing.numbers import INT64_MAX, INT64_MIN, Unkept, integer_of, json_float, written_json_float
from cdp_router.importing.read_options import textual
from cdp_router.records.instants import Count, NoInstant, count_ms, iso_ms, number_in, sure_ms
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import to_datetime, to_ms

_WHOLE_FLOAT_MAX: Final = 1 << 53  # beyond, a float represents several integers
_GUESSES: Final = {
    "user_id": ("user_id", "userId"),
    "anonymous_id": ("anonymous_id", "anonymousId"),
    "event": ("event", "event_name"),  # "name" is missing: most often it is that of a person
    "time": ("time", "ts", "timestamp"),
    "message_id": ("message_id", "messageId"),
    "properties": ("properties",),
    "attributes": ("attributes", "traits"),
    "identifiers": ("identifiers",),
    "previous_id": ("previous_id", "previousId"),
    # The columns that `cdp export all` writes.
    "profile_kind": ("profile_kind",),
    "profile_id": ("profile_id",),
    "linked_kind": ("linked_kind",),
    "linked_id": ("linked_id",),
    "time_properties": ("time_properties",),
}
_OF_EXPORTS: Final = ("profile_kind", "profile_id", "linked_kind", "linked_id", "time_properties")
_IDENTIFIER: Final = "identifiers."  # prefix of columns with identifiers of one kind

AUTO: Final = "auto"  # the size of times decides their unit
EXPORTED: Final = "profile_id"  # the column that identifies a file of `cdp export all`
TEXTS: Final = ("user_id", "anonymous_id", "event", "message_id")
NAME: Final = "name"  # of an event or a person: that is unknown, so it is mapped only on request
NO_EVENT: Final = (
    "it has no event name and no attributes; map a column with --event, --event-name or --attributes,"
    " or give --profiles where columns are attributes"
)
NO_TIME: Final = "it has no time; map a column with --time or give --default-time"

_JSON: Final = msgspec.json.Decoder(float_hook=json_float)
_WRITTEN_JSON: Final = msgspec.json.Decoder(float_hook=written_json_float)

# [name or None, user_id, anonymous_id, time ms, message_id, values, others]: the msgpack row of cdp.v1.
PlainRow = tuple[str | None, str | None, str | None, int, str | None, dict[str, Any]]
WireRow = PlainRow | tuple[str | None, str | None, str | None, int, str | None, dict[str, Any], dict[str, str]]


class RowRejected(Exception):
    """A line or row of the file that is not a record; `reason` is the message, `code` its kind."""

    def __init__(self, reason: str, code: str = "RECORD_MALFORMED") -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Mapping of columns to roles; None = take the usual names. See `cdp import --help` for each."""

    user_id: str | None = None
    anonymous_id: str | None = None
    event: str | None = None
    time: str | None = None
    message_id: str | None = None
    properties: str | None = None
    attributes: str | None = None
    event_name: str | None = None
    default_time_ms: int | None = None
    time_unit: str = "ms"  # AUTO unless `cdp import` gets an option
    identifiers: str | None = None
    previous_id: str | None = None
    profile_kind: str | None = None
    profile_id: str | None = None
    linked_kind: str | None = None
    linked_id: str | None = None
    time_properties: str | None = None
    times: tuple[str, ...] = ()  # values that are times, by name or path
    as_text: frozenset[str] = frozenset()  # values that are kept as text, by name or path
    profiles: bool = False  # records without an event name change attributes
    nulls: str | None = None  # meaning of null inside a map of attributes: "absent" or "unset"; None: by the file

    def column(self, role: str, record: Mapping[str, Any]) -> str | None:
        """The column of a role in this record, or None if there is none."""
        given: str | None = getattr(self, role)
        if given is not None:
            return given if given in record else None
        return next((name for name in _GUESSES[role] if name in record), None)

    def columns(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        """The column of each role in this record; the columns of an export count only if all exist."""
        found = {role: self.column(role, record) for role in _GUESSES}
        if found["linked_kind"] is None or found["linked_id"] is None:
            found |= dict.fromkeys(("linked_kind", "linked_id"))
        if found["profile_kind"] is None or found["profile_id"] is None:
            found |= dict.fromkeys(_OF_EXPORTS)
        return found


class WrittenRecord(dict[str, Any]):
    """A record read from text: the interpreted values, and in `written` the text of each."""

    def __init__(self, values: Mapping[str, Any], written: Mapping[str, str]) -> None:
        super().__init__(values)
        self.written = written


@dataclass(frozen=True, slots=True)
class Roles:
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
def roles_of(mapping: ColumnMapping, names: tuple[str, ...]) -> Roles:
    """Roles of the columns of a record with these names; most records have the names of the previous one."""
    columns = mapping.columns(dict.fromkeys(names))
    used = set(columns.values())
    texts = tuple((role, columns[role]) for role in TEXTS)
    nested = columns["properties"], columns["attributes"]
    rest = tuple(name for name in names if name not in used and not name.startswith(_IDENTIFIER))
    kinds = tuple(name for name in names if name not in used and name.startswith(_IDENTIFIER))
    identifiers = columns["identifiers"], columns["previous_id"], kinds
    pairs = ((columns[f"{whose}_kind"], columns[f"{whose}_id"]) for whose in ("profile", "linked"))
    exported = tuple((kind, name) for kind, name in pairs if kind is not None and name is not None)
    has_attributes = columns["attributes"] is not None or bool(exported) or mapping.profiles
    return Roles(
        texts, nested, columns["time"], has_attributes, identifiers, exported, columns["time_properties"], rest
    )


def to_row(record: Mapping[str, Any], mapping: ColumnMapping) -> WireRow:
    """The wire row of a record; RowRejected says what is missing."""
    roles = roles_of(mapping, tuple(record))
    # Ids and names are text: 007 and 1e5 must not turn into numbers on the way.
    written = record.written if isinstance(record, WrittenRecord) else record
    user_id, anonymous_id, event, message_id = [_text(role, _value(written, column)) for role, column in roles.texts]
    values = dict[str, Any]()
    for column in roles.nested:
        nested = _nested(column, _value(record, column), mapping)
        _add(values, _present(nested) if mapping.nulls == "absent" else nested)
    keeps_nulls = mapping.profiles and mapping.nulls == "unset" and event is None
    for name in roles.rest:
        if (value := record[name]) is not None or keeps_nulls:
            _add(values, _named(value) if roles.exported and name == VALUES else {name: value})
    for name in _names(_value(record, roles.times)):
        values[name] = to_datetime(time_ms(values.get(name), mapping))
    if not (event or mapping.event_name):
        values = _spread(values)
    if mapping.as_text:
        values = textual(values, mapping.as_text)
    for path in mapping.times:
        _make_times(values, path, path, mapping)
    event = event or mapping.event_name
    others = _others(record, written, roles, mapping)
    if event is None and not roles.has_attributes and not others:
        raise RowRejected(no_event(record))
    plain = event, user_id, anonymous_id, time_ms(_value(record, roles.time), mapping), message_id, values
    return (*plain, others) if others else plain


def _add(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Adds values of another column; RowRejected if two columns have different values for one name."""
    for name in values.keys() & more.keys() if values else ():
        if type(values[name]) is not type(more[name]) or values[name] != more[name]:
            raise RowRejected(f"two columns give different values of {name!r}; leave one of them out with --skip")
    values |= more


def _spread(values: dict[str, Any]) -> dict[str, Any]:
    """Attributes with the fields of sparse structs under dotted names, which leave other fields of the struct
    unchanged.
    """
    found = dict[str, Any]()
    for name, value in values.items():
        is_sparse = isinstance(value, Sparse)
        _add(found, {f"{name}.{field}": each for field, each in _spread(value).items()} if is_sparse else {name: value})
    return found


def no_event(names: Container[str]) -> str:
    """The message about a record that is neither an event nor a change of attributes."""
    return f"{NO_EVENT}; if {NAME!r} holds it, give --event {NAME}" if NAME in names else NO_EVENT


def problem_in(row: WireRow) -> RowRejected | None:
    """Problem of a row's values that cannot be stored, with its path; None if there is none."""
    return next(_problems(row[5], ""), None)


def _problems(value: Any, path: str) -> Iterator[RowRejected]:
    match value:
        case dict():
            for name, item in value.items():
                yield from _problems(item, f"{path}.{name}" if path else str(name))
        case list():
            for item in value:
                yield from _problems(item, path)
        case Unkept():
            yield RowRejected(f"{path!r}: {value.reason}", value.code)
        case int() if not INT64_MIN <= value <= INT64_MAX:
            yield from _problems(integer_of(value), path)


def _make_times(values: dict[str, Any], name: str, path: str, mapping: ColumnMapping) -> None:
    """Converts the value at a path to a time, if there is one: texts and numbers like those of records."""
    if name in values:
        value = values[name]
        values[name] = (
            [_time(each, path, mapping) for each in value] if isinstance(value, list) else _time(value, path, mapping)
        )
        return
    outer, _, inner = name.partition(".")
    if inner and isinstance(values.get(outer), dict):
        values[outer] = dict(values[outer])
        _make_times(values[outer], inner, path, mapping)


def _time(value: Any, path: str, mapping: ColumnMapping) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        return to_datetime(time_ms(value, mapping))
    except OverflowError:
        raise RowRejected(
            f"{path!r}: {str(value)[:40]!r} is not between the years 1 and 9999", "TIME_INVALID"
        ) from None
    except RowRejected as error:
        raise RowRejected(f"{path!r}: {error.reason}", error.code) from error


def _present(values: dict[str, Any]) -> dict[str, Any]:
    """The values without nulls, also inside maps, which mean nothing for their missing fields."""
    return {
        name: Sparse(_present(value)) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _others(
    record: Mapping[str, Any], written: Mapping[str, Any], roles: Roles, mapping: ColumnMapping
) -> dict[str, str]:
    """Identifiers by kind other than user id and anonymous id; the previous id of an alias is an anonymous id."""
    nested, previous, kinds = roles.identifiers
    given = {
        str(kind): _text(str(kind), value) for kind, value in _nested(nested, _value(record, nested), mapping).items()
    }
    given |= {name.removeprefix(_IDENTIFIER): _text(name, written[name]) for name in kinds}
    for kind, name in roles.exported:
        given.setdefault(str(written[kind]), _text(name, written[name]))
    given.setdefault("anonymous_id", _text("previous_id", _value(written, previous)))
    return {kind: value for kind, value in given.items() if value}


def _value(record: Mapping[str, Any], column: str | None) -> Any:
    return None if column is None else record[column]


def _nested(column: str | None, value: Any, mapping: ColumnMapping) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        value = _decoded(str(column), value, _WRITTEN_JSON if mapping.as_text else _JSON)
    if isinstance(value, Unkept):
        raise RowRejected(f"column {column!r}: {value.reason}", value.code)
    if not isinstance(value, dict):
        raise RowRejected(f"column {column!r} must hold a map of names to values")
    return value


def _named(values: Any) -> dict[str, Any]:
    """Named values in the form of a Parquet export: for each the name and the value that is not null; none means
    removed.
    """
    if not isinstance(values, list) or not all(isinstance(each, dict) and "name" in each for each in values):
        raise RowRejected(f"column {VALUES!r} of an export does not hold values by name")
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


def _decoded(column: str, text: str, decoder: msgspec.json.Decoder[Any] = _JSON) -> Any:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RowRejected(f"column {column!r} does not hold JSON: {error}") from error


def _text(role: str, value: Any) -> str | None:
    """An id or name: text unchanged, a number as its digits."""
    match value:
        case None | str():
            return value
        case bool():
            pass
        case int():
            return str(value)
        case float() if value.is_integer() and abs(value) < _WHOLE_FLOAT_MAX:
            return str(int(value))
        case float() if value.is_integer():
            raise RowRejected(f"{role} {value!r} is a float, which represents several integers of this size")
        case Unkept() if value.digits and value.text.lstrip("-").isdigit():
            return value.text
        case Unkept():
            raise RowRejected(f"{role}: {value.reason}", value.code)
    raise RowRejected(f"{role} must be text, not {type(value).__name__} {str(value)[:40]!r}")


def time_ms(value: Any, mapping: ColumnMapping) -> int:
    """Epoch milliseconds of the time of a record; RowRejected if it is not a time."""
    match value:
        case None | "":
            if mapping.default_time_ms is None:
                raise RowRejected(NO_TIME)
            return mapping.default_time_ms
        case bool():
            raise RowRejected(f"time {value!r} is not a time")
        case int() | float():
            return _counted_ms(value, mapping.time_unit)
        case datetime():
            return to_ms(value if value.tzinfo else value.replace(tzinfo=UTC))
        case date():
            return to_ms(datetime(value.year, value.month, value.day, tzinfo=UTC))
        case str():
            return _parsed_ms(value, mapping.time_unit)
        case Unkept() if value.text and value.code != "TIME_INVALID":  # a number of many digits
            return _parsed_ms(value.text, mapping.time_unit)
        case Unkept():
            raise RowRejected(f"time: {value.reason}", value.code)
    raise RowRejected(f"time {str(value)[:40]!r} is not a time")


def is_time(text: str, mapping: ColumnMapping) -> bool:
    """True if a text can be the time of a record."""
    try:
        return bool(text) and _parsed_ms(text, mapping.time_unit) is not None
    except RowRejected:
        return False


def _counted_ms(count: Count, unit: str) -> int:
    """Milliseconds of a count of units; with AUTO, of a number whose size decides the unit, or of YYYYMMDD."""
    try:
        ms = sure_ms(count) if unit == AUTO else count_ms(count, unit)
        return min(max(ms, TIME_MIN_MS - 1), TIME_MAX_MS + 1)  # the cluster refuses times beyond
    except NoInstant as error:
        hint = "; give --time-unit s, ms, us or ns" if unit == AUTO else ""
        raise RowRejected(f"time {error}{hint}", "TIME_INVALID") from error


def _parsed_ms(text: str, unit: str) -> int:
    count = number_in(text)
    if count is not None:
        return _counted_ms(count, unit)
    try:
        return iso_ms(text)
    except NoInstant as error:
        raise RowRejected(f"time {error}") from error
