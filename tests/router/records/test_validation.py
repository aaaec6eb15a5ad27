"""Every reason a record can be refused for, at its limit and one beyond."""

from __future__ import annotations

import ast
import inspect
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cdp_router.errors import RecordInvalid
from cdp_router.records import validation
from cdp_router.records.columnarise import columnarise
from cdp_router.records.validation import CheckedRow, Row, check_row
from cdp_store.limits import RECORD_BYTES_MAX as SIZE_MAX
from cdp_store.limits import STRING_BYTES_MAX as TEXT_MAX
from cdp_store.records import rules
from cdp_store.records.rules import Rule
from tests.router.encodings import DAY_MS, msgpack_batch
from tests.router.local_cluster import NOW_MS

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
GOOD: dict[str, Any] = {
    "name": "View", "user_id": "ann", "anonymous_id": None, "time_ms": NOW_MS, "message_id": None, "values": {},
}  # fmt: skip


def _row(**changed: Any) -> Row:
    return Row(**{**GOOD, **changed})


def _values(value: Any) -> dict[str, Any]:
    return {"values": {"p": value}}


def _nested(levels: int) -> dict[str, Any]:
    """Maps inside each other: the innermost name stands at this level."""
    value: Any = 1
    for _ in range(levels):
        value = {"m": value}
    assert isinstance(value, dict)
    return value


def _nested_list(levels: int) -> list[Any]:
    value: list[Any] = [1]
    for _ in range(levels - 1):
        value = [value]
    return value


def _record_of(size: int) -> dict[str, Any]:
    """Properties of `size` bytes together: names of one byte, strings of at most 8 KB."""
    values, number = dict[str, Any](), 0
    while size > 0:
        taken = min(size, 250_000)
        values[chr(ord("a") + number)] = "x" * (taken - 1)
        size, number = size - taken, number + 1
    return values


# (case, what is accepted, what is one too many, code)
LIMITS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("event name bytes", {"name": "n" * 120}, {"name": "n" * 121}, "EVENT_NAME_INVALID"),
    ("event name bytes, not letters", {"name": "é" * 60}, {"name": "é" * 61}, "EVENT_NAME_INVALID"),
    ("event name empty", {"name": None}, {"name": ""}, "EVENT_NAME_INVALID"),
    ("event name type", {"name": "5"}, {"name": 5}, "EVENT_NAME_INVALID"),
    ("event name text", {"name": "\U0001f600"}, {"name": "\ud83d"}, "EVENT_NAME_INVALID"),
    ("user id bytes", {"user_id": "u" * 512}, {"user_id": "u" * 513}, "IDENTIFIER_INVALID"),
    ("user id type", {"user_id": "7"}, {"user_id": 7}, "IDENTIFIER_INVALID"),
    (
        "anonymous id bytes", {"user_id": "", "anonymous_id": "é" * 256}, {"user_id": "", "anonymous_id": "é" * 257},
        "IDENTIFIER_INVALID",
    ),
    ("identifier blocked", {"user_id": "00x"}, {"user_id": "000"}, "IDENTIFIER_BLOCKED"),
    ("identifier given", {"user_id": None, "anonymous_id": "a"}, {"user_id": None}, "IDENTIFIER_MISSING"),
    ("identifier empty", {"user_id": "", "anonymous_id": "a"}, {"user_id": "", "anonymous_id": ""},
     "IDENTIFIER_MISSING"),
    ("message id bytes", {"message_id": "m" * 128}, {"message_id": "m" * 129}, "MESSAGE_ID_INVALID"),
    ("message id type", {"message_id": ""}, {"message_id": 5}, "MESSAGE_ID_INVALID"),
    ("message id of another type that is falsy", {"message_id": None}, {"message_id": 0}, "MESSAGE_ID_INVALID"),
    ("message id list", {"message_id": None}, {"message_id": []}, "MESSAGE_ID_INVALID"),
    ("time type", {"time_ms": 0}, {"time_ms": 0.0}, "TIME_INVALID"),
    ("time given", {"time_ms": -1}, {"time_ms": None}, "TIME_INVALID"),
    ("time no flag", {"time_ms": 1}, {"time_ms": True}, "TIME_INVALID"),
    ("time early", {"time_ms": FIRST_MS}, {"time_ms": FIRST_MS - 1}, "TIME_INVALID"),
    ("time late", {"time_ms": NOW_MS}, {"time_ms": LAST_MS + 1}, "TIME_INVALID"),
    ("time ahead", {"time_ms": NOW_MS + DAY_MS}, {"time_ms": NOW_MS + DAY_MS + 1}, "TIME_IN_FUTURE"),
    ("properties a map", {"values": {}}, {"values": []}, "PROPERTIES_INVALID"),
    ("properties given", {"values": {}}, {"values": None}, "PROPERTIES_INVALID"),
    ("property name bytes", {"values": {"p" * 120: 1}}, {"values": {"p" * 121: 1}}, "PROPERTY_NAME_INVALID"),
    ("property name empty", {"values": {" ": 1}}, {"values": {"": 1}}, "PROPERTY_NAME_INVALID"),
    ("property name type", {"values": {"1": 1}}, {"values": {1: 1}}, "PROPERTY_NAME_INVALID"),
    (
        "dotted property name bytes", {"values": {"a" * 60: {"b" * 59: 1}}}, {"values": {"a" * 60: {"b" * 60: 1}}},
        "PROPERTY_NAME_INVALID",
    ),
    ("name inside a list", _values([{"k": 1}]), _values([{"": 1}]), "PROPERTY_NAME_INVALID"),
    (
        "properties", {"values": {f"p{number}": number for number in range(256)}},
        {"values": {f"p{number}": number for number in range(257)}}, "TOO_MANY_PROPERTIES",
    ),
    ("nesting of maps", {"values": _nested(3)}, {"values": _nested(4)}, "NESTING_TOO_DEEP"),
    ("nesting of lists", _values(_nested_list(3)), _values(_nested_list(4)), "NESTING_TOO_DEEP"),
    ("nesting of maps in a list", _values([_nested(2)]), _values([_nested(5)]), "NESTING_TOO_DEEP"),
    ("list items", _values([1] * 100), _values([1] * 101), "LIST_TOO_LONG"),
    ("string bytes", _values("s" * TEXT_MAX), _values("s" * (TEXT_MAX + 1)), "STRING_TOO_LONG"),
    ("string bytes, no letters", _values("é" * (TEXT_MAX // 2)), _values("é" * (TEXT_MAX // 2 + 1)), "STRING_TOO_LONG"),
    ("string in a list", _values(["s" * TEXT_MAX]), _values(["s" * (TEXT_MAX + 1)]), "STRING_TOO_LONG"),
    ("string text", _values("\U0001f600"), _values("\ud83d"), "STRING_INVALID"),
    ("record bytes", {"values": _record_of(SIZE_MAX)}, {"values": _record_of(SIZE_MAX + 1)}, "RECORD_TOO_LARGE"),
    (
        "record bytes, not letters", {"values": {f"{n}": "é" * 130_000 for n in range(4)}},
        {"values": {f"{n}": "é" * 130_000 for n in range(5)}}, "RECORD_TOO_LARGE",
    ),
    ("integer high", _values((1 << 63) - 1), _values(1 << 63), "INTEGER_OUT_OF_RANGE"),
    ("integer low", _values(-(1 << 63)), _values(-(1 << 63) - 1), "INTEGER_OUT_OF_RANGE"),
    ("integer in a list", _values([(1 << 63) - 1]), _values([1 << 63]), "INTEGER_OUT_OF_RANGE"),
    ("number", _values(1.7e308), _values(math.inf), "NUMBER_NOT_FINITE"),
    ("number defined", _values(-0.0), _values(math.nan), "NUMBER_NOT_FINITE"),
    ("number in a list", _values([0.5]), _values([-math.inf]), "NUMBER_NOT_FINITE"),
    ("type", _values("b"), _values(b"b"), "VALUE_TYPE_UNKNOWN"),
    (
        "time as a value", _values(datetime(1, 1, 1, tzinfo=UTC)),
        _values(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))), "TIME_INVALID",
    ),
    (
        "operation", {"name": None, "identifiers": {}, "operations": {"increment": {"n": 1}}},
        {"name": None, "identifiers": {}, "operations": {"increment": {"n": "1"}}}, "OPERATION_INVALID",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fits", "code", "beyond"),
    [(fits, code, beyond) for _, fits, beyond, code in LIMITS],
    ids=[case[0] for case in LIMITS],
)
def test_row_17_a_record_is_taken_at_a_limit_and_refused_beyond_it(
    fits: dict[str, Any], beyond: dict[str, Any], code: str
) -> None:
    assert isinstance(check_row(_row(**fits), NOW_MS), CheckedRow)
    with pytest.raises(RecordInvalid) as caught:
        check_row(_row(**beyond), NOW_MS)
    assert caught.value.code == code
    assert str(caught.value) == caught.value.message
    assert len(caught.value.message) > 10


def test_every_code_of_the_module_is_reached_by_a_case_above() -> None:
    named = [
        getattr(rules, node.attr)
        for node in ast.walk(ast.parse(inspect.getsource(validation)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rules"
    ]
    codes = {each.code if isinstance(each, Rule) else each.length.code for each in named}
    assert codes == {code for *_, code in LIMITS}


def test_a_message_says_no_more_of_a_long_value_than_a_line() -> None:
    with pytest.raises(RecordInvalid) as caught:
        check_row(_row(name="n" * 100_000), NOW_MS)
    assert len(caught.value.message) < 200


def test_the_user_id_names_the_profile_when_both_are_given() -> None:
    checked = check_row(_row(user_id="ann", anonymous_id="x"), NOW_MS)
    assert (checked.kind, checked.identifier) == ("user_id", "ann")


def test_nested_maps_become_dotted_names() -> None:
    checked = check_row(_row(values={"address": {"city": "Oslo", "geo": {"lat": 1.5}}, "n": None}), NOW_MS)
    assert checked.values == {"address.city": "Oslo", "address.geo.lat": 1.5, "n": None}


def test_a_time_without_zone_is_taken_as_utc() -> None:
    checked = check_row(_row(values={"t": datetime(2026, 1, 1)}), NOW_MS)
    assert checked.values == {"t": datetime(2026, 1, 1, tzinfo=UTC)}


def _good(number: int) -> list[Any]:
    return ["View", f"u{number}", None, NOW_MS - number, None, {"n": number}]


# What msgpack can carry of the cases above.
_SENDABLE = [
    (name, beyond, code)
    for name, _, beyond, code in LIMITS
    if "text" not in name and not (name.startswith("integer") and "low" in name) and name != "time as a value"
]


@pytest.mark.parametrize(("beyond", "code"), [case[1:] for case in _SENDABLE], ids=[case[0] for case in _SENDABLE])
def test_one_bad_record_never_affects_the_others(beyond: dict[str, Any], code: str) -> None:
    bad = list({**GOOD, **beyond}.values())
    found = columnarise(msgpack_batch([_good(1), bad, _good(2), bad, _good(3)]), NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(1, code), (3, code)]
    assert found.positions.tolist() == [0, 2, 4]
    assert [found.batch.identities[number] for number in found.batch.record_identities] == [b"uu1", b"uu2", b"uu3"]
    assert found.batch.record_times.tolist() == [NOW_MS - 1, NOW_MS - 2, NOW_MS - 3]


@pytest.mark.parametrize("row", [5, "x", None, {}, [], ["View", "u"], [*_good(1), {}, {}, 7]], ids=repr)
def test_a_row_of_another_shape_is_refused_alone(row: Any) -> None:
    found = columnarise(msgpack_batch([_good(1), row, _good(2)]), NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(1, "RECORD_MALFORMED")]
    assert found.positions.tolist() == [0, 2]
