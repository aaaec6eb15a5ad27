"""One record as it arrives, checked: limits, types, times. Errors carry a code and say what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cdp_router.errors import RecordInvalid
from cdp_router.records.blocklist import Blocked
from cdp_store.ids import ANONYMOUS_ID, USER_ID, is_identifier_kind, rank_of_kind
from cdp_store.limits import (
    FUTURE_SKEW_MS,
    IDENTIFIER_BYTES_MAX,
    LIST_ITEMS_MAX,
    MESSAGE_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    NESTING_DEPTH_MAX,
    PROPERTIES_PER_RECORD_MAX,
    RECORD_BYTES_MAX,
    STRING_BYTES_MAX,
    TIME_MAX_MS,
    TIME_MIN_MS,
)
from cdp_store.values import Operation, Value, to_datetime, to_ms

_USUALLY_BLOCKED = Blocked()
_OWN_KINDS: Final = frozenset((USER_ID, ANONYMOUS_ID))  # those that have fields of their own
_OPERATIONS: Final = {each.name.lower(): each for each in Operation if each is not Operation.SET}
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A record as sent: name None is an attribute change; nothing is checked yet."""

    name: Any
    user_id: Any
    anonymous_id: Any
    time_ms: Any
    message_id: Any
    values: Any
    identifiers: Any = None  # further ones by kind
    operations: Any = None  # by name, what each does to which attributes; only where there is no event name


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A record that can be taken as it is."""

    kind: str
    identifier: str
    name: str | None
    time_ms: int
    message_id: str
    values: Mapping[str, Value | None]
    others: tuple[tuple[str, str], ...] = ()  # (kind, value) of identifiers that belong to the one above
    operations: Mapping[str, Operation] = field(default_factory=dict)  # of attributes whose value is no plain one


def check_row(row: Row, now_ms: int, is_blocked: Callable[[str], bool] = _USUALLY_BLOCKED) -> CheckedRow:
    """The checked form of a record; RecordInvalid says what is wrong."""
    (kind, identifier), *others = _identifiers(row, is_blocked)
    if row.name is not None:
        check_text("event name", row.name, NAME_BYTES_MAX, "EVENT_NAME_INVALID")
    time_ms = _time(row.time_ms, now_ms)
    message_id = "" if row.message_id is None else row.message_id
    if message_id != "":
        check_text("message_id", message_id, MESSAGE_ID_BYTES_MAX, "MESSAGE_ID_INVALID")
    if not isinstance(row.values, dict):
        raise RecordInvalid("PROPERTIES_INVALID", "properties must be a map of names to values")
    values = _flat(row.values, is_event=row.name is not None)
    # Objects that have values count as these alone.
    wholes = (
        set()
        if row.name is not None
        else {name for name, value in row.values.items() if value and isinstance(value, dict)}
    )
    operations = _operations(row, values) if row.operations else {}
    count = len(values) - len(wholes)
    if count > PROPERTIES_PER_RECORD_MAX:
        problem = f"{count} properties; a record may have {PROPERTIES_PER_RECORD_MAX}"
        raise RecordInvalid("TOO_MANY_PROPERTIES", problem)
    size = sum(len(key.encode()) + value_size(value) for key, value in values.items() if key not in wholes)
    if size > RECORD_BYTES_MAX:
        raise RecordInvalid("RECORD_TOO_LARGE", f"about {size} bytes; a record may have {RECORD_BYTES_MAX}")
    return CheckedRow(kind, identifier, row.name, time_ms, message_id, values, tuple(others), operations)


def _flat(given: Mapping[Any, Any], *, is_event: bool) -> dict[str, Value | None]:
    """Values by their dotted names; none may be there as a name with a dot and inside an object as well.

    An object among attributes is there itself too, unset: it stands for the whole, so that parts it does not give go.
    """
    values = dict[str, Value | None]()
    for key, whole in given.items():
        if not isinstance(whole, dict):
            check_text("property name", key, NAME_BYTES_MAX, "PROPERTY_NAME_INVALID")
            _put(values, key, check_value(key, whole))
            continue
        if not is_event:
            _put(values, key, None)
        for name, value in flattened({key: whole}):
            _put(values, name, value)
    return values


def _put(values: dict[str, Value | None], name: str, value: Value | None) -> None:
    if name in values:
        problem = f"{name!r} is there twice: as a name with a dot, and inside an object; send one of them"
        raise RecordInvalid("PROPERTY_NAME_INVALID", problem)
    values[name] = value


def _operations(row: Row, values: dict[str, Value | None]) -> Mapping[str, Operation]:
    """The operation on each attribute that has one; what it is done with goes among the values."""
    if row.name is not None or not isinstance(row.operations, dict):
        raise RecordInvalid("OPERATION_INVALID", "operations are a map, in a record that changes attributes")
    found = dict[str, Operation]()
    for name, given in row.operations.items():
        operation = _OPERATIONS.get(name) if isinstance(name, str) else None
        if operation is None or not isinstance(given, dict):
            raise RecordInvalid("OPERATION_INVALID", f"{name!r:.60} is none of {', '.join(_OPERATIONS)}, with a map")
        for attribute, operand in flattened(given):
            if attribute in found:
                raise RecordInvalid("OPERATION_INVALID", f"{attribute!r} has two operations in one record")
            if attribute not in values:
                found[attribute] = _checked_operation(operation, attribute, operand)
                values[attribute] = operand
            elif operation is not Operation.SET_ONCE:
                raise RecordInvalid("OPERATION_INVALID", f"{attribute!r} is set as well; send that in a record before")
    return found


def _checked_operation(operation: Operation, attribute: str, operand: Any) -> Operation:
    is_number = isinstance(operand, int | float) and not isinstance(operand, bool)
    if operation is Operation.INCREMENT and not is_number:
        raise RecordInvalid("OPERATION_INVALID", f"{attribute!r} can only be incremented by a number")
    if operation in (Operation.APPEND, Operation.REMOVE) and not isinstance(operand, list):
        raise RecordInvalid("OPERATION_INVALID", f"{operation.name.lower()} needs a list for {attribute!r}")
    if operand is None:
        raise RecordInvalid("OPERATION_INVALID", f"{attribute!r} cannot be set once to nothing")
    return operation


def check_text(what: str, text: Any, bytes_max: int, code: str) -> None:
    """Raise RecordInvalid unless `text` is a non-empty string of at most `bytes_max` bytes."""
    if not isinstance(text, str):
        raise RecordInvalid(code, f"{what} must be a string, not {type(text).__name__}")
    if not text:
        raise RecordInvalid(code, f"{what} is empty")
    if len(text) > bytes_max or len(_encode(what, text, code)) > bytes_max:
        raise RecordInvalid(code, f"{what} {text[:40]!r}... is longer than {bytes_max} bytes")


def _encode(what: str, text: str, code: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise RecordInvalid(code, f"{what} is no valid Unicode text: {error.reason}") from error


def _identifiers(row: Row, is_blocked: Callable[[str], bool]) -> list[tuple[str, str]]:
    """(kind, value) of all identifiers of a record; the first names its profile."""
    others = {} if row.identifiers is None else row.identifiers
    if not isinstance(others, dict):
        raise RecordInvalid("IDENTIFIER_INVALID", "identifiers must be a map of kinds to values")
    found, blocked = list[tuple[str, str]](), False
    for kind, value in ((USER_ID, row.user_id), (ANONYMOUS_ID, row.anonymous_id), *others.items()):
        if value is None or value == "":
            continue
        if kind not in _OWN_KINDS and not (isinstance(kind, str) and is_identifier_kind(kind)):
            raise RecordInvalid("IDENTIFIER_INVALID", f"{kind!r:.60} is no kind of identifiers: a-z, 0-9 and _")
        check_text(kind, value, IDENTIFIER_BYTES_MAX, "IDENTIFIER_INVALID")
        if is_blocked(value):
            blocked = True
        elif (kind, value) not in found:
            found.append((kind, value))
    if not found and blocked:
        raise RecordInvalid("IDENTIFIER_BLOCKED", "its identifiers are values that name nobody, such as 0 or null")
    if not found:
        raise RecordInvalid("IDENTIFIER_MISSING", "a record needs a user_id, an anonymous_id or another identifier")
    return found if len(found) == 1 else sorted(found, key=lambda each: rank_of_kind(each[0]))


def _time(time_ms: Any, now_ms: int) -> int:
    if type(time_ms) is not int:
        raise RecordInvalid("TIME_INVALID", "time must be given, as milliseconds since 1970 UTC")
    if not TIME_MIN_MS <= time_ms <= TIME_MAX_MS:
        raise RecordInvalid("TIME_INVALID", f"time {time_ms} is not between the years 1 and 9999; is its unit ms?")
    if time_ms > now_ms + FUTURE_SKEW_MS:
        when = to_datetime(time_ms).isoformat()
        raise RecordInvalid("TIME_IN_FUTURE", f"time {when} is more than 24 hours ahead of the server's clock")
    return time_ms


def flattened(values: Mapping[Any, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Value | None]]:
    for key, value in values.items():
        check_text("property name", key, NAME_BYTES_MAX, "PROPERTY_NAME_INVALID")
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if depth == NESTING_DEPTH_MAX:
                problem = f"{name!r} is nested deeper than {NESTING_DEPTH_MAX} levels"
                raise RecordInvalid("NESTING_TOO_DEEP", problem)
            yield from flattened(value, f"{name}.", depth + 1)
        else:
            if prefix:
                check_text("property name", name, NAME_BYTES_MAX, "PROPERTY_NAME_INVALID")
            yield name, check_value(name, value)


def check_value(name: str, value: Any, depth: int = 1) -> Any:
    """The value as it is stored; RecordInvalid says why it cannot be."""
    match value:
        case None | bool():
            return value
        case str():
            if len(value) > STRING_BYTES_MAX or len(_encode(name, value, "STRING_INVALID")) > STRING_BYTES_MAX:
                raise RecordInvalid("STRING_TOO_LONG", f"{name!r} is longer than {STRING_BYTES_MAX} bytes")
            return value
        case int():
            if not _INT64_MIN <= value <= _INT64_MAX:
                raise RecordInvalid("INTEGER_OUT_OF_RANGE", f"{name!r} = {value} does not fit 64 bits; send a string")
            return value
        case float():
            if not math.isfinite(value):
                raise RecordInvalid("NUMBER_NOT_FINITE", f"{name!r} is {value}; send null or leave it out")
            return value
        case datetime():
            return _checked_time(name, value)
        case list():
            return _checked_list(name, value, depth)
        case dict():
            return _checked_map(name, value, depth)
    raise RecordInvalid("VALUE_TYPE_UNKNOWN", f"{name!r} has type {type(value).__name__}, which cannot be stored")


def _checked_map(name: str, value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if depth > NESTING_DEPTH_MAX:
        raise RecordInvalid("NESTING_TOO_DEEP", f"{name!r} is nested deeper than {NESTING_DEPTH_MAX} levels")
    return {_item_key(name, key): check_value(name, item, depth + 1) for key, item in value.items()}


def _item_key(name: str, key: Any) -> str:
    check_text(f"a field name in {name!r}", key, NAME_BYTES_MAX, "PROPERTY_NAME_INVALID")
    return str(key)


def _checked_time(name: str, value: datetime) -> datetime:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not TIME_MIN_MS <= to_ms(aware) <= TIME_MAX_MS:
        raise RecordInvalid("TIME_INVALID", f"{name!r} is not between the years 1 and 9999")
    return aware


def _checked_list(name: str, value: list[Any], depth: int) -> list[Any]:
    if len(value) > LIST_ITEMS_MAX:
        raise RecordInvalid("LIST_TOO_LONG", f"{name!r} has {len(value)} items; a list may have {LIST_ITEMS_MAX}")
    if depth > NESTING_DEPTH_MAX:
        raise RecordInvalid("NESTING_TOO_DEEP", f"{name!r} is nested deeper than {NESTING_DEPTH_MAX} levels")
    return [check_value(name, item, depth + 1) for item in value]


def value_size(value: Any) -> int:
    """Bytes a value counts against the limit of a record: strings in UTF-8, 8 for every other scalar."""
    match value:
        case str():
            return len(value.encode())
        case list():
            return sum(map(value_size, value))
        case dict():
            return sum(len(key.encode()) + value_size(item) for key, item in value.items())
    return 8
