"""Checks of one record as it arrives: limits, types, times. Errors carry a code and a remedy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cdp_router.contract.python_values import short_number
from cdp_router.errors import RecordInvalid
from cdp_router.records.blocklist import Blocked
from cdp_store.ids import ANONYMOUS_ID, USER_ID, is_identifier_kind, rank_of_kind
from cdp_store.limits import FUTURE_SKEW_MS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records import rules
from cdp_store.records.rules import TextRules
from cdp_store.values import Operation, Value, to_datetime, to_ms

_USUALLY_BLOCKED = Blocked()
_OWN_KINDS: Final = frozenset((USER_ID, ANONYMOUS_ID))  # fields with a column of their own
_OPERATIONS: Final = {each.name.lower(): each for each in Operation if each is not Operation.SET}
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A record as sent: name None means a change of attributes; nothing is checked yet."""

    name: Any
    user_id: Any
    anonymous_id: Any
    time_ms: Any
    message_id: Any
    values: Any
    identifiers: Any = None  # other identifiers by kind
    operations: Any = None  # by name of the operation, its attributes and operands; only without an event name


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A record that can be accepted unchanged."""

    kind: str
    identifier: str
    name: str | None
    time_ms: int
    message_id: str
    values: Mapping[str, Value | None]
    others: tuple[tuple[str, str], ...] = ()  # (kind, value) of identifiers that belong to the one above
    operations: Mapping[str, Operation] = field(default_factory=dict)  # of attributes whose value is not a plain one


def check_row(row: Row, now_ms: int, is_blocked: Callable[[str], bool] = _USUALLY_BLOCKED) -> CheckedRow:
    """The checked form of a record; RecordInvalid says what is wrong."""
    (kind, identifier), *others = _identifiers(row, is_blocked)
    if row.name is not None:
        check_text(rules.EVENT_NAME, row.name)
    time_ms = _time(row.time_ms, now_ms)
    message_id = "" if row.message_id is None else row.message_id
    if message_id != "":
        check_text(rules.MESSAGE_ID, message_id)
    if not isinstance(row.values, dict):
        raise RecordInvalid.of(rules.PROPERTY_MAP, what="properties")
    values = _flat(row.values, is_event=row.name is not None)
    # Objects that have values count only as these values.
    wholes = (
        set()
        if row.name is not None
        else {name for name, value in row.values.items() if value and isinstance(value, dict)}
    )
    operations = _operations(row, values) if row.operations else {}
    count = len(values) - len(wholes)
    if count > rules.PROPERTY_COUNT.limit:
        raise RecordInvalid.of(rules.PROPERTY_COUNT, count=count)
    size = sum(len(key.encode()) + value_size(value) for key, value in values.items() if key not in wholes)
    if size > rules.RECORD_SIZE.limit:
        raise RecordInvalid.of(rules.RECORD_SIZE, size=size)
    return CheckedRow(kind, identifier, row.name, time_ms, message_id, values, tuple(others), operations)


def _flat(given: Mapping[Any, Any], *, is_event: bool) -> dict[str, Value | None]:
    """Values by their dotted names; no name may occur both with a dot and inside an object.

    An object among attributes is also listed itself, unset. It represents the whole, so that the parts it does not give
    are removed.
    """
    values = dict[str, Value | None]()
    for key, whole in given.items():
        if not isinstance(whole, dict):
            check_text(rules.PROPERTY_NAME, key)
            _put(values, key, check_value(key, whole))
            continue
        if not is_event:
            _put(values, key, None)
        for name, value in flattened({key: whole}):
            _put(values, name, value)
    return values


def _put(values: dict[str, Value | None], name: str, value: Value | None) -> None:
    if name in values:
        raise RecordInvalid.of(rules.PROPERTY_TWICE, name=name)
    values[name] = value


def _operations(row: Row, values: dict[str, Value | None]) -> Mapping[str, Operation]:
    """The operation on each attribute that has one; its operand becomes the value."""
    if row.name is not None or not isinstance(row.operations, dict):
        raise RecordInvalid.of(rules.OPERATION_MAP)
    found = dict[str, Operation]()
    for name, given in row.operations.items():
        operation = _OPERATIONS.get(name) if isinstance(name, str) else None
        if operation is None or not isinstance(given, dict):
            raise RecordInvalid.of(rules.OPERATION_NAME, name=name, known=", ".join(_OPERATIONS))
        for attribute, operand in flattened(given):
            if attribute in found:
                raise RecordInvalid.of(rules.OPERATION_TWICE, name=attribute)
            if attribute not in values:
                found[attribute] = _checked_operation(operation, attribute, operand)
                values[attribute] = operand
            elif operation is not Operation.SET_ONCE:
                raise RecordInvalid.of(rules.OPERATION_AND_SET, name=attribute)
    return found


def _checked_operation(operation: Operation, attribute: str, operand: Any) -> Operation:
    is_number = isinstance(operand, int | float) and not isinstance(operand, bool)
    if operation is Operation.INCREMENT and not is_number:
        raise RecordInvalid.of(rules.OPERATION_NUMBER, name=attribute)
    if operation in (Operation.APPEND, Operation.REMOVE) and not isinstance(operand, list):
        raise RecordInvalid.of(rules.OPERATION_LIST, operation=operation.name.lower(), name=attribute)
    if operand is None:
        raise RecordInvalid.of(rules.OPERATION_VALUE, name=attribute)
    return operation


def check_text(text_rules: TextRules, text: Any, what: str = "") -> str:
    """The text, if it keeps the rules of its field; RecordInvalid calls the field `what`."""
    what = what or text_rules.what
    if not isinstance(text, str):
        raise RecordInvalid.of(text_rules.kind, what=what, type=type(text).__name__)
    if not text and text_rules.given:
        raise RecordInvalid.of(text_rules.given, what=what)
    try:
        if not _fits(text, text_rules.limit):
            raise RecordInvalid.of(text_rules.length, what=what, start=text[:40])
    except UnicodeEncodeError as error:
        raise RecordInvalid.of(text_rules.unicode, what=what) from error
    return text


def _fits(text: str, bytes_max: int) -> bool:
    return len(text) <= bytes_max and (text.isascii() or len(text.encode()) <= bytes_max)


def _identifiers(row: Row, is_blocked: Callable[[str], bool]) -> list[tuple[str, str]]:
    """(kind, value) of all identifiers of a record; the first names its profile."""
    others = {} if row.identifiers is None else row.identifiers
    if not isinstance(others, dict):
        raise RecordInvalid.of(rules.IDENTIFIER_MAP)
    found, blocked = list[tuple[str, str]](), False
    for kind, value in ((USER_ID, row.user_id), (ANONYMOUS_ID, row.anonymous_id), *others.items()):
        if value is None or value == "":
            continue
        if kind not in _OWN_KINDS and not (isinstance(kind, str) and is_identifier_kind(kind)):
            raise RecordInvalid.of(rules.IDENTIFIER_KIND, kind=kind)
        check_text(rules.IDENTIFIER, value, kind)
        if is_blocked(value):
            blocked = True
        elif (kind, value) not in found:
            found.append((kind, value))
    if not found and blocked:
        raise RecordInvalid.of(rules.IDENTIFIER_BLOCKED)
    if not found:
        raise RecordInvalid.of(rules.IDENTIFIER_MISSING)
    return found if len(found) == 1 else sorted(found, key=lambda each: rank_of_kind(each[0]))


def _time(time_ms: Any, now_ms: int) -> int:
    if type(time_ms) is not int:
        raise RecordInvalid.of(rules.TIME_GIVEN)
    if not TIME_MIN_MS <= time_ms <= TIME_MAX_MS:
        raise RecordInvalid.of(rules.TIME_YEARS, what="time")
    if time_ms > now_ms + FUTURE_SKEW_MS:
        raise RecordInvalid.of(rules.TIME_AHEAD, when=to_datetime(time_ms).isoformat())
    return time_ms


def flattened(values: Mapping[Any, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Value | None]]:
    for key, value in values.items():
        check_text(rules.PROPERTY_NAME, key)
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if depth == rules.NESTING.limit:
                raise RecordInvalid.of(rules.NESTING, name=name)
            yield from flattened(value, f"{name}.", depth + 1)
        else:
            if prefix:
                check_text(rules.PROPERTY_NAME, name)
            yield name, check_value(name, value)


def check_value(name: str, value: Any, depth: int = 1) -> Any:
    """The value as it is stored; RecordInvalid says why it cannot be stored."""
    match value:
        case None | bool():
            return value
        case str():
            return _checked_string(name, value)
        case int():
            if not _INT64_MIN <= value <= _INT64_MAX:
                raise RecordInvalid.of(rules.INTEGER_BITS, name=name, value=short_number(value))
            return value
        case float():
            if not math.isfinite(value):
                raise RecordInvalid.of(rules.NUMBER_FINITE, name=name, value=value)
            return value
        case datetime():
            return _checked_time(name, value)
        case list():
            if len(value) > rules.LIST_LENGTH.limit:
                raise RecordInvalid.of(rules.LIST_LENGTH, name=name, count=len(value))
            _check_depth(name, depth)
            return [check_value(name, item, depth + 1) for item in value]
        case dict():
            _check_depth(name, depth)
            what = f"a field name in {name!r}"
            return {
                check_text(rules.PROPERTY_NAME, key, what): check_value(name, item, depth + 1)
                for key, item in value.items()
            }
    raise RecordInvalid.of(rules.VALUE_TYPE, name=name, type=type(value).__name__)


def _checked_string(name: str, value: str) -> str:
    try:
        if not _fits(value, rules.STRING_LENGTH.limit):
            raise RecordInvalid.of(rules.STRING_LENGTH, name=name)
    except UnicodeEncodeError as error:
        raise RecordInvalid.of(rules.STRING_UNICODE, name=name) from error
    return value


def _check_depth(name: str, depth: int) -> None:
    if depth > rules.NESTING.limit:
        raise RecordInvalid.of(rules.NESTING, name=name)


def _checked_time(name: str, value: datetime) -> datetime:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not TIME_MIN_MS <= to_ms(aware) <= TIME_MAX_MS:
        raise RecordInvalid.of(rules.TIME_YEARS, what=repr(name))
    return aware


def value_size(value: Any) -> int:
    """Bytes that a value counts against the limit of a record: strings in UTF-8, 8 for every other scalar."""
    match value:
        case str():
            return len(value) if value.isascii() else len(value.encode())
        case list():
            return sum(map(value_size, value))
        case dict():
            return sum(len(key.encode()) + value_size(item) for key, item in value.items())
    return 8
