"""Three encodings, one stored state; and whatever bytes come, a batch is taken, refused by record, or refused whole."""

from __future__ import annotations

import decimal
import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from cdp.v1 import ingest_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.contract.values import from_value
from cdp_router.errors import RequestInvalid
from cdp_router.importing.numbers import Unkept, decimal_of
from cdp_router.limits import COLUMNS_BYTES_MAX, ROWS_BYTES_MAX
from cdp_router.questions.profile_reading import read_profile
from cdp_router.questions.timelines import Page
from cdp_router.records.columnarise import columnarise
from cdp_router.records.columnarised import Columnarised
from cdp_router.records.decimal_columns import numbers_of
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import STRING_BYTES_MAX as TEXT_MAX
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch, check_batch, decode_batch, encode_batch
from tests.router.encodings import (
    DAY_MS,
    Sent,
    arrow_batch,
    arrow_table,
    dotted,
    instant,
    message_of,
    msgpack_batch,
    msgpack_row,
    protobuf_batch,
)
from tests.router.local_cluster import NOW_MS, local_cluster
from tests.shards import KEY

State = dict[bytes, dict[str, Any]]

# One Arrow type a property; nested values have dotted names there.
TYPES = {
    "n": pa.int64(),
    "price": pa.float64(),
    "text": pa.string(),
    "flag": pa.bool_(),
    "at": pa.timestamp("ms", "UTC"),
    "tags": pa.list_(pa.string()),
    "address.city": pa.string(),
    "address.geo.lat": pa.float64(),
}


def _state(batch: RecordBatch, *, sealed: bool = False) -> State:
    """Everything a partition gives back of a batch, by identifier, with events in an order of their own."""
    partition = Partition(PartitionId(0), KEY)
    received = decode_batch(encode_batch(batch))
    admission = partition.admit(received, partition.pending_ids())
    partition.apply(admission.batch, SequenceNumber(1))
    if sealed:
        partition.maintain(0)
    found: State = {}
    for number in range(len(batch.identities)):
        profile = read_profile(partition, batch.identities[number], Page(10_000))
        assert profile is not None
        shown = json_format.MessageToDict(profile)
        shown.get("events", []).sort(key=lambda event: json.dumps(event, sort_keys=True))
        found[batch.identities[number]] = shown
    return found


def _stored(batch: ingest_pb2.Batch, *, sealed: bool = False) -> State:
    columnarised = columnarise(batch, NOW_MS)
    assert columnarised.errors == []
    return _state(columnarised.batch, sealed=sealed)


def _values() -> st.SearchStrategy[dict[str, Any]]:
    moments = st.integers(0, NOW_MS).map(instant)
    city = st.fixed_dictionaries(
        {}, optional={"city": st.sampled_from(("Oslo", "")), "geo": st.fixed_dictionaries({"lat": st.just(59.9)})}
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "n": st.sampled_from((0, 1, -1, 255, 256, 1 << 40, (1 << 63) - 1, -(1 << 63))),
            "price": st.sampled_from((0.0, -0.0, 0.1, 12.95, 1e300, 5e-324)),
            "text": st.sampled_from(("", "a", "größe", "日本", 'say "hi"', "x\ny")),
            "flag": st.booleans(),
            "at": moments,
            "tags": st.lists(st.sampled_from(("a", "b", "")), max_size=3),
            "address": city.filter(bool),
        },
    )


def _records() -> st.SearchStrategy[list[Sent]]:
    people = st.sampled_from((("u1", ""), ("u2", ""), ("", "x1"), ("größe", "x1")))
    names = st.sampled_from(("View", "Buy", None))
    times = st.sampled_from((0, -1, NOW_MS, NOW_MS - 1, NOW_MS + DAY_MS, NOW_MS - 40 * DAY_MS))
    record = st.builds(
        lambda who, name, time_ms, values: Sent(name, who[0], time_ms, values, who[1]), people, names, times, _values()
    )
    return st.lists(record, min_size=1, max_size=12)


@given(_records(), st.booleans())
def test_rows_and_columns_give_the_same_stored_state(records: list[Sent], sealed: bool) -> None:
    by_protobuf = _stored(protobuf_batch(records), sealed=sealed)
    assert _stored(msgpack_batch(map(msgpack_row, records)), sealed=sealed) == by_protobuf
    # Columns name parts of an object alone, which replaces nothing: rows say the same with dotted names.
    flat = [each._replace(values=dict(dotted(each.values))) if each.name is None else each for each in records]
    by_columns = _stored(arrow_batch(arrow_table(records, TYPES)), sealed=sealed)
    assert by_columns == _stored(msgpack_batch(map(msgpack_row, flat)), sealed=sealed)


def test_what_is_stored_is_what_was_sent() -> None:
    values = {
        "n": (1 << 63) - 1, "price": 12.95, "text": "größe", "flag": False, "tags": ["a", "b"],
        "at": datetime(2026, 1, 1, 12, tzinfo=UTC), "address": {"city": "Oslo"},
    }  # fmt: skip
    batch = columnarise(protobuf_batch([Sent("Buy", "ann", NOW_MS, values), Sent(None, "ann", NOW_MS, values)]), NOW_MS)
    [profile] = _state(batch.batch).values()
    expected = {
        "n": {"integer": str((1 << 63) - 1)}, "price": {"number": 12.95}, "text": {"text": "größe"},
        "flag": {"boolean": False}, "tags": {"list": {"items": [{"text": "a"}, {"text": "b"}]}},
        "at": {"time": "2026-01-01T12:00:00Z"}, "address.city": {"text": "Oslo"},
    }  # fmt: skip
    assert profile["attributes"] == expected
    assert [event["properties"] for event in profile["events"]] == [expected]


def test_the_three_encodings_count_as_one_in_a_cluster(tmp_path: Path) -> None:
    records = [Sent("View", f"u{n}", NOW_MS - n, {"n": n, "text": f"t{n % 3}"}, message_id=f"m{n}") for n in range(30)]
    batches = (
        protobuf_batch(records), msgpack_batch(map(msgpack_row, records)), arrow_batch(arrow_table(records, TYPES)),
    )  # fmt: skip
    with local_cluster(tmp_path) as cluster:
        results = [cluster.ingest(batch) for batch in batches]
        assert [(result.accepted, result.duplicates) for result in results] == [(30, 0), (0, 30), (0, 30)]
        assert cluster.query('count("View", text = "t1") = 1').count == 10
        assert cluster.query('count("View") = 1').count == 30


def test_null_unsets_an_attribute_in_rows_and_leaves_it_alone_in_columns() -> None:
    known = Sent(None, "ann", NOW_MS - 1, {"text": "gold", "n": 1})
    unset = Sent(None, "ann", NOW_MS, {"text": None})
    [in_rows] = _stored(protobuf_batch([known, unset])).values()
    assert _stored(msgpack_batch(map(msgpack_row, [known, unset]))) == {b"uann": in_rows}
    [in_columns] = _stored(arrow_batch(arrow_table([known, unset], TYPES))).values()
    assert sorted(in_rows["attributes"]) == ["n"]
    assert sorted(in_columns["attributes"]) == ["n", "text"]


def test_a_null_property_of_an_event_is_no_value_in_any_encoding() -> None:
    records = [Sent("View", "ann", NOW_MS, {"text": None, "n": 1})]
    by_protobuf = _stored(protobuf_batch(records))
    assert by_protobuf[b"uann"]["events"][0]["properties"] == {"n": {"integer": "1"}}
    assert _stored(msgpack_batch(map(msgpack_row, records))) == by_protobuf
    assert _stored(arrow_batch(arrow_table(records, TYPES))) == by_protobuf


# ------------------------------------------------------------------------------------------------------------- columns


def _table(column: pa.Array | None = None, **columns: Any) -> pa.Table:
    """Two events of two users with a property p; a column that is None is left out."""
    whole = {"user_id": ["ann", "bob"], "time": pa.array([NOW_MS, NOW_MS - 1]), "event": ["View", "View"], **columns}
    given_columns = {name: values for name, values in whole.items() if values is not None}
    return pa.table(given_columns | ({} if column is None else {"p": column}))


def _property(column: pa.Array) -> list[Any]:
    """What is stored of p for the two users; None where nothing is."""
    columnarised = columnarise(arrow_batch(_table(column)), NOW_MS)
    assert columnarised.errors == []
    state = _state(columnarised.batch)
    shown = [state[who]["events"][0].get("properties", {}).get("p") for who in (b"uann", b"ubob")]
    return [None if value is None else from_value(json_format.ParseDict(value, ingest_pb2.Value())) for value in shown]


def _decimals(*texts: str | None) -> pa.Array:
    return pa.array([None if each is None else decimal.Decimal(each) for each in texts], pa.decimal128(7, 4))


def _coded(values: list[Any], kind: pa.DataType, index: pa.DataType | None = None) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([1, 0], index or pa.int32()), pa.array(values, kind))


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = datetime(2026, 1, 1, tzinfo=UTC)
ARROW_COLUMNS: list[tuple[str, Callable[[], pa.Array], list[Any]]] = [
    *(
        (str(kind), lambda kind=kind: pa.array([3, None], kind), [3, None])
        for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    ),
    ("float16", lambda: pa.array([np.float16(1.5), None], pa.float16()), [1.5, None]),
    ("float32", lambda: pa.array([0.1, None], pa.float32()), [float(np.float32(0.1)), None]),
    ("float64", lambda: pa.array([0.1, -0.0]), [0.1, -0.0]),
    ("decimal", lambda: pa.array([decimal.Decimal("1.25"), None], pa.decimal128(10, 2)), [1.25, None]),
    *(
        (f"{kind} {text}", lambda kind=kind, text=text: pa.array([decimal.Decimal(text), None], kind), [number, None])
        for kind, text, number in (
            (pa.decimal128(7, 4), "-238.5400", -238.54),
            (pa.decimal128(38, 22), "0.3", 0.3),
            (pa.decimal128(38, 25), "0.3", 0.3),
            (pa.decimal256(76, 2), "-0.07", -0.07),
            (pa.decimal128(38, 2), "1234567890123456.5", 1234567890123456.5),
            (pa.decimal128(38, 2), "9007199254740993.00", 9007199254740993),
            (pa.decimal128(38, 0), "9223372036854775807", (1 << 63) - 1),
            (pa.decimal128(19, 0), "-9223372036854775808", -(1 << 63)),
            (pa.decimal128(5, -2), "700", 700),
        )
    ),
    ("dictionary of decimals", lambda: _decimals("-238.5400", "0.0001").dictionary_encode(), [-238.54, 0.0001]),
    ("bool", lambda: pa.array([None, True]), [None, True]),
    ("string", lambda: pa.array(["größe", ""]), ["größe", ""]),
    ("large_string", lambda: pa.array(["a", None], pa.large_string()), ["a", None]),
    ("null", lambda: pa.nulls(2), [None, None]),
    ("dictionary of strings", lambda: _coded(["a", "b"], pa.string()), ["b", "a"]),
    ("dictionary of large strings", lambda: _coded(["a", "b"], pa.large_string()), ["b", "a"]),
    ("dictionary with wide unsigned indices", lambda: _coded(["a", "b"], pa.string(), pa.uint64()), ["b", "a"]),
    ("dictionary with narrow indices", lambda: _coded(["a", "b"], pa.string(), pa.int8()), ["b", "a"]),
    ("dictionary with a null index", lambda: pa.array(["a", None]).dictionary_encode(), ["a", None]),
    ("dictionary with a null value", lambda: _coded([None, "b"], pa.string()), ["b", None]),
    ("dictionary of integers", lambda: _coded([5, 6], pa.int64()), [6, 5]),
    ("dictionary of numbers", lambda: _coded([0.5, 1.5], pa.float64()), [1.5, 0.5]),
    ("dictionary of flags", lambda: _coded([True, False], pa.bool_()), [False, True]),
    ("dictionary of times", lambda: _coded([DAY, NOON], pa.timestamp("ms", "UTC")), [NOON, DAY]),
    *(
        (f"timestamp {unit}", lambda unit=unit: pa.array([NOON, None], pa.timestamp(unit, "UTC")), [NOON, None])
        for unit in ("s", "ms", "us", "ns")
    ),
    ("timestamp of another zone", lambda: pa.array([NOON, None], pa.timestamp("us", "Asia/Kolkata")), [NOON, None]),
    ("timestamp without zone", lambda: pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("us")), [NOON, None]),
    ("timestamp before 1970", lambda: pa.array([-1, None], pa.timestamp("us", "UTC")), [instant(-1), None]),
    ("date32", lambda: pa.array([date(2026, 1, 1), None], pa.date32()), [DAY, None]),
    ("date64", lambda: pa.array([date(2026, 1, 1), None], pa.date64()), [DAY, None]),
    ("list of strings", lambda: pa.array([["a", ""], None]), [["a", ""], None]),
    ("empty list", lambda: pa.array([[], None], pa.list_(pa.string())), [[], None]),
    ("list with null", lambda: pa.array([["a", None], None]), [["a", None], None]),
    ("large list", lambda: pa.array([[1, 2], None], pa.large_list(pa.int16())), [[1, 2], None]),
    ("list of flags", lambda: pa.array([[True], [False]]), [[True], [False]]),
    (
        "list of dictionary",
        lambda: pa.array([["a"], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        [["a"], None],
    ),
    ("list of times", lambda: pa.array([[NOON], None], pa.list_(pa.timestamp("us", "UTC"))), [[NOON], None]),
    ("list of times in ns", lambda: pa.array([[NOON], None], pa.list_(pa.timestamp("ns", "UTC"))), [[NOON], None]),
    (
        "list of times without zone",
        lambda: pa.array([[NOON.replace(tzinfo=None)], None], pa.list_(pa.timestamp("ms"))),
        [[NOON], None],
    ),
    ("list of dates", lambda: pa.array([[date(2026, 1, 1)], None], pa.list_(pa.date32())), [[DAY], None]),
    ("list of decimals", lambda: pa.array([[decimal.Decimal("1.25")], None]), [[1.25], None]),
]


@pytest.mark.parametrize(
    ("make", "expected"), [case[1:] for case in ARROW_COLUMNS], ids=[case[0] for case in ARROW_COLUMNS]
)
def test_an_arrow_type_is_stored_as_its_value(make: Callable[[], pa.Array], expected: list[Any]) -> None:
    found = _property(make())
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"x", None]),
        pa.array([{"a": 1}, None]),
        pa.array([1, None], pa.time32("s")),
        pa.array([1, None], pa.duration("s")),
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([[["a"]], None]),
        pa.array([[{"a": 1}], None]),
        pa.array([[b"x"], None]),
        pa.array([1 << 63, 1], pa.uint64()),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_of_a_type_that_cannot_be_stored_is_named(column: pa.Array) -> None:
    with pytest.raises(RequestInvalid) as caught:
        columnarise(arrow_batch(_table(column)), NOW_MS)
    assert caught.value.field == "batch.arrow_columns"
    assert "'p'" in caught.value.problem


@given(st.integers(0, 20), st.lists(st.integers(-(10**18), 10**18), min_size=1, max_size=20))
def test_decimals_are_what_an_import_makes_of_them(scale: int, digits: list[int]) -> None:
    column = pa.array([decimal.Decimal(each).scaleb(-scale) for each in digits], pa.decimal128(38, scale))
    found = numbers_of(column)
    for number, value in enumerate(column.to_pylist()):
        meant = int(value) if scale == 0 else decimal_of(value)
        own = found.floats[number] if found.is_float[number] else None
        own = int(found.integers[number]) if found.is_integer[number] else own
        assert (own is None) == isinstance(meant, Unkept)
        assert own is None or (own == meant and isinstance(own, int) == isinstance(meant, int))


LAST_MS = 253_402_300_799_999
ARROW_LIMITS: list[tuple[str, dict[str, Any], str]] = [
    ("number not a number", {"p": pa.array([float("nan"), 1.0])}, "NUMBER_NOT_FINITE"),
    ("number infinite", {"p": pa.array([float("-inf"), 1.0])}, "NUMBER_NOT_FINITE"),
    ("number in a list", {"p": pa.array([[float("nan")], [1.0]])}, "NUMBER_NOT_FINITE"),
    ("string", {"p": pa.array(["s" * (TEXT_MAX + 1), "s" * TEXT_MAX])}, "STRING_TOO_LONG"),
    (
        "string in letters of two bytes", {"p": pa.array(["é" * (TEXT_MAX // 2 + 1), "é" * (TEXT_MAX // 2)])},
        "STRING_TOO_LONG",
    ),
    ("string in a list", {"p": pa.array([["s" * (TEXT_MAX + 1)], ["s" * TEXT_MAX]])}, "STRING_TOO_LONG"),
    ("list", {"p": pa.array([[1] * 101, [1] * 100])}, "LIST_TOO_LONG"),
    ("integer in a list", {"p": pa.array([[1 << 63], [1]], pa.list_(pa.uint64()))}, "INTEGER_OUT_OF_RANGE"),
    *(
        (f"{kind} {text}", {"p": pa.array([decimal.Decimal(text), decimal.Decimal(1)], kind)}, code)
        for kind, text, code in (
            (pa.decimal128(38, 0), str(1 << 63), "INTEGER_OUT_OF_RANGE"),
            (pa.decimal256(76, 0), "9" * 70, "INTEGER_OUT_OF_RANGE"),
            (pa.decimal128(38, 18), "0.123456789012345678", "NUMBER_INEXACT"),
            (pa.decimal128(38, 2), "12345678901234567.89", "NUMBER_INEXACT"),
        )
    ),
    *(
        (f"list of {kind}", {"p": pa.array([[decimal.Decimal(text)], [decimal.Decimal(1)]], pa.list_(kind))}, code)
        for kind, text, code in (
            (pa.decimal128(38, 18), "0.123456789012345678", "NUMBER_INEXACT"),
            (pa.decimal128(38, 0), str(1 << 63), "INTEGER_OUT_OF_RANGE"),
        )
    ),
    ("time as a value", {"p": pa.array([LAST_MS + 1, LAST_MS], pa.timestamp("ms"))}, "TIME_INVALID"),
    ("time as a value in s", {"p": pa.array([1 << 60, 1], pa.timestamp("s"))}, "TIME_INVALID"),
    ("time ahead", {"time": pa.array([NOW_MS + DAY_MS + 1, NOW_MS + DAY_MS])}, "TIME_IN_FUTURE"),
    ("time missing", {"time": pa.array([None, NOW_MS])}, "TIME_INVALID"),
    ("time early", {"time": pa.array([-62_135_596_800_001, -62_135_596_800_000])}, "TIME_INVALID"),
    ("time beyond 64 bits of ms", {"time": pa.array([-(1 << 60), 1], pa.timestamp("s"))}, "TIME_INVALID"),
    ("user", {"user_id": ["u" * 513, "u" * 512]}, "IDENTIFIER_INVALID"),
    ("user missing", {"user_id": [None, "u"]}, "IDENTIFIER_MISSING"),
    ("user empty", {"user_id": ["", "u"]}, "IDENTIFIER_MISSING"),
    ("event", {"event": ["n" * 121, "n" * 120]}, "EVENT_NAME_INVALID"),
    ("event empty", {"event": ["", "n"]}, "EVENT_NAME_INVALID"),
    ("message id", {"message_id": ["m" * 129, "m" * 128]}, "MESSAGE_ID_INVALID"),
    (
        "properties", {f"p{number}": pa.array([1, None if number == 256 else 1]) for number in range(257)},
        "TOO_MANY_PROPERTIES",
    ),
    (
        "record", {f"s{n}": pa.array(["s" * 250_000, None if n == 4 else "s" * 250_000]) for n in range(5)},
        "RECORD_TOO_LARGE",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "code"), [case[1:] for case in ARROW_LIMITS], ids=[case[0] for case in ARROW_LIMITS]
)
def test_columns_have_the_limits_of_rows(columns: dict[str, Any], code: str) -> None:
    columnarised = columnarise(arrow_batch(_table(**columns)), NOW_MS)
    assert [(error.index, error.code) for error in columnarised.errors] == [(0, code)]
    assert columnarised.positions.tolist() == [1]
    assert list(_state(columnarised.batch)) == [columnarised.batch.identities[0]]


@pytest.mark.parametrize(
    "table",
    [
        _table(user_id=None),
        _table(user_id=[1, 2]),
        _table(user_id=_decimals("1", "2")),
        _table(time=None),
        _table(time=["a", "b"]),
        _table(time=[0.5, 1.5]),
        _table(event=[1, 2]),
        _table(message_id=[1, 2]),
        _table(**{"": [1, 2]}),
        _table(**{"x" * 121: [1, 2]}),
        _table(user_id=pa.nulls(2)),
        pa.table({}),
        pa.table([pa.array(["a"]), pa.array([1]), pa.array([1]), pa.array([1])], ["user_id", "time", "p", "p"]),
        _table(time=pa.array([1 << 63, 1], pa.uint64())),
    ],
    ids=range(14),
)
def test_a_table_without_what_every_record_needs_is_refused_whole(table: pa.Table) -> None:
    with pytest.raises(RequestInvalid, match=r"batch\.arrow_columns") as caught:
        columnarise(arrow_batch(table), NOW_MS)
    assert caught.value.field == "batch.arrow_columns"


def test_columns_may_come_in_slices_and_pieces() -> None:
    records = [Sent("View", f"u{n % 7}", NOW_MS - n, {"text": f"t{n}", "tags": ["x"] * (n % 3)}) for n in range(50)]
    table = arrow_table(records, TYPES)
    pieces = pa.concat_tables([table.slice(30, 5), table.slice(0, 10)])
    assert _stored(arrow_batch(table.slice(10, 20))) == _stored(protobuf_batch(records[10:30]))
    assert _stored(arrow_batch(pieces)) == _stored(protobuf_batch([*records[30:35], *records[:10]]))


def test_no_rows_are_no_records() -> None:
    for batch in (protobuf_batch([]), msgpack_batch([]), arrow_batch(arrow_table([], TYPES))):
        assert len(columnarise(batch, NOW_MS).batch) == 0


def test_the_id_of_an_anonymous_profile_is_used_where_the_user_id_is_null_or_empty() -> None:
    table = _table(user_id=["", "bob"], anonymous_id=["x", "y"])
    assert sorted(_stored(arrow_batch(table))) == [b"ax", b"ubob"]


@pytest.mark.parametrize("hidden", [b"\xe2\x28", b'"\xff', b"null", b"000"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_what_lies_under_a_null_is_no_identifier(kind: pa.DataType, hidden: bytes) -> None:
    offsets = np.array([0, len(hidden), len(hidden) + 3], np.int64 if kind == pa.large_string() else np.int32)
    buffers = [pa.py_buffer(b"\x02"), pa.py_buffer(offsets.tobytes()), pa.py_buffer(hidden + b"bob")]
    user_id = pa.Array.from_buffers(kind, 2, buffers)
    columnarised = columnarise(arrow_batch(_table(user_id=user_id, anonymous_id=["x", "y"])), NOW_MS)
    assert columnarised.errors == []
    assert sorted(_state(columnarised.batch)) == [b"ax", b"ubob"]


def test_an_anonymous_id_beside_a_user_id_is_checked_too() -> None:
    record = Sent("View", "ann", NOW_MS, {}, anonymous_id="x" * 513)
    for batch in (
        protobuf_batch([record]),
        msgpack_batch([msgpack_row(record)]),
        arrow_batch(arrow_table([record], TYPES)),
    ):
        assert [error.code for error in columnarise(batch, NOW_MS).errors] == ["IDENTIFIER_INVALID"]


def test_ids_given_together_are_linked_whatever_the_encoding() -> None:
    records = [
        Sent("View", "ann", NOW_MS - 9, {}, anonymous_id="d1", message_id="m1"),
        Sent(None, "ann", NOW_MS - 5, {"p": 1}, anonymous_id="d2"),
        Sent("View", "", NOW_MS, {}, anonymous_id="d3"),
        Sent("View", "bob", NOW_MS, {}, anonymous_id="null"),
    ]
    for batch in (
        protobuf_batch(records),
        msgpack_batch(map(msgpack_row, records)),
        arrow_batch(arrow_table(records, TYPES)),
    ):
        links = columnarise(batch, NOW_MS).links
        found = [(links.lower[n], links.upper[n], int(links.times[n]), links.message_ids[n]) for n in range(len(links))]
        assert found == [(b"ad1", b"uann", NOW_MS - 9, b"m1"), (b"ad2", b"uann", NOW_MS - 5, b"")]


def test_a_column_without_event_changes_attributes() -> None:
    [state] = _stored(arrow_batch(_table(pa.array([1, 2]), event=None, user_id=["ann", "ann"]))).values()
    assert state["attributes"] == {"p": {"integer": "1"}}
    assert "events" not in state


# ------------------------------------------------------------------------------------------------------- whole batches


@pytest.mark.parametrize("batch_id", [b"", b"x" * 65], ids=["empty", "long"])
def test_a_batch_needs_an_id_of_at_most_64_bytes(batch_id: bytes) -> None:
    batch = ingest_pb2.Batch(batch_id=batch_id, msgpack_rows=b"\x90")
    with pytest.raises(RequestInvalid) as caught:
        columnarise(batch, NOW_MS)
    assert caught.value.field == "batch.batch_id"
    assert len(columnarise(ingest_pb2.Batch(batch_id=b"x" * 64, msgpack_rows=b"\x90"), NOW_MS).batch) == 0


def test_a_batch_without_records_is_refused() -> None:
    with pytest.raises(RequestInvalid) as caught:
        columnarise(ingest_pb2.Batch(batch_id=b"x"), NOW_MS)
    assert caught.value.field == "batch.records"


@pytest.mark.parametrize(
    ("field", "limit"),
    [("msgpack_rows", ROWS_BYTES_MAX), ("rows", ROWS_BYTES_MAX), ("arrow_columns", COLUMNS_BYTES_MAX)],
)
def test_row_17_a_batch_beyond_its_size_is_refused_before_it_is_read(field: str, limit: int) -> None:
    given: Any = b"\x00" * (limit + 1)
    if field == "rows":
        given = ingest_pb2.RecordRows(records=[ingest_pb2.Record(user_id="u" * limit)])
    with pytest.raises(RequestInvalid) as caught:
        columnarise(ingest_pb2.Batch(batch_id=b"x", **{field: given}), NOW_MS)
    assert caught.value.field == f"batch.{field}"
    assert str(limit) in caught.value.problem


def test_a_record_without_body_is_refused_alone() -> None:
    batch = protobuf_batch([Sent("View", "u1", NOW_MS, {}), Sent("View", "u2", NOW_MS, {})])
    batch.rows.records[0].ClearField("body")
    found = columnarise(batch, NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(0, "BODY_MISSING")]
    assert found.positions.tolist() == [1]


@pytest.mark.parametrize("seconds", [10**15, -(10**15), 253_402_300_800, -62_135_596_801])
def test_a_record_at_an_impossible_time_is_refused_alone(seconds: int) -> None:
    batch = protobuf_batch([Sent("View", f"u{number}", NOW_MS, {"at": instant(0)}) for number in range(3)])
    batch.rows.records[0].time.seconds = seconds
    batch.rows.records[1].event.properties["at"].time.seconds = seconds
    found = columnarise(batch, NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(0, "TIME_INVALID"), (1, "TIME_INVALID")]
    assert found.positions.tolist() == [2]


@pytest.mark.parametrize("nanos", [-1, 2_000_000_000])
def test_nanoseconds_beyond_a_second_take_out_no_more_than_their_record(nanos: int) -> None:
    batch = protobuf_batch([Sent("View", f"u{number}", 0, {}) for number in range(2)])
    batch.rows.records[0].time.nanos = nanos
    found = columnarise(batch, NOW_MS)
    assert 1 in found.positions
    assert len(found.positions) + len(found.errors) == 2


def test_row_17_maps_nested_without_end_inside_a_list_are_refused_alone() -> None:
    value: Any = 1
    for _ in range(400):
        value = {"m": value}
    rows = [["View", f"u{number}", None, NOW_MS, None, {"p": [value] if number else [1]}] for number in range(2)]
    found = columnarise(msgpack_batch(rows), NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(1, "NESTING_TOO_DEEP")]


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"\xc1", b"\x91\xc1", b"\x92\xa5abc", b"\xdd\xff\xff\xff\xff", b"\x90\x90", b"\x05", b"\x80", b"\xc0",
    ],
    ids=range(9),
)  # fmt: skip
def test_bytes_that_are_no_msgpack_rows_are_refused_whole(packed: bytes) -> None:
    with pytest.raises(RequestInvalid) as caught:
        columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=packed), NOW_MS)
    assert caught.value.field == "batch.msgpack_rows"


@pytest.mark.parametrize(
    "record", [b"\xa1\xff", b"\x81\x80\x01", b"\x91" * 100_000 + b"\x90", b"\xd7\xff" + b"\xff" * 8], ids=range(4)
)
def test_a_record_that_cannot_be_decoded_is_refused_alone(record: bytes) -> None:
    good = msgspec.msgpack.encode(msgpack_row(Sent("View", "u1", NOW_MS, {})))
    found = columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=b"\x93" + good + record + good), NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(1, "RECORD_MALFORMED")]
    assert found.positions.tolist() == [0, 2]


# ------------------------------------------------------------------------------------------------------ mutated bytes


_FUZZED = [
    Sent(
        "View", "ann", NOW_MS, {"n": 1, "price": 0.5, "text": "größe", "flag": True, "tags": ["a", "b"]}, message_id="m"
    ),
    Sent(None, "bob", NOW_MS - DAY_MS, {"at": instant(NOW_MS), "address": {"city": "Oslo", "geo": {"lat": 1.0}}}),
    Sent("Buy", "", 0, {"text": "x", "n": -(1 << 63)}, anonymous_id="x1"),
]
_PROTOBUF = protobuf_batch(_FUZZED, b"x").rows.SerializeToString()
_MSGPACK = msgspec.msgpack.encode([msgpack_row(record) for record in _FUZZED])
_ARROW = arrow_batch(arrow_table(_FUZZED, TYPES), b"x").arrow_columns
_ARROW_CODED = arrow_batch(_table(_coded(["a", "b"], pa.string())), b"x").arrow_columns


def _mutated(whole: bytes, seed: int) -> bytes:
    """The bytes with a few changed, lost or doubled."""
    chance, data = random.Random(seed), bytearray(whole)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.choice((1, 4, 8, 100))]
            case 2:
                data[at:at] = data[at : at + chance.choice((1, 4, 8))]
            case _:
                data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x00\x80"))
    return bytes(data)


def _taken_or_refused(batch: ingest_pb2.Batch, field: str) -> None:
    """Whatever the bytes are: RequestInvalid that names the field, or a batch a shard can take."""
    try:
        columnarised: Columnarised = columnarise(batch, NOW_MS)
    except RequestInvalid as error:
        assert error.field == field
        return
    check_batch(columnarised.batch)
    _state(columnarised.batch)


@given(st.integers(0, 1 << 40))
def test_mutated_msgpack_is_taken_or_refused(seed: int) -> None:
    _taken_or_refused(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=_mutated(_MSGPACK, seed)), "batch.msgpack_rows")


@given(st.integers(0, 1 << 40))
def test_mutated_protobuf_is_taken_or_refused(seed: int) -> None:
    try:
        rows = ingest_pb2.RecordRows.FromString(_mutated(_PROTOBUF, seed))
    except DecodeError:
        return  # gRPC refuses it before we see it
    _taken_or_refused(ingest_pb2.Batch(batch_id=b"x", rows=rows), "batch.rows")


@given(st.integers(0, 1 << 40), st.sampled_from((_ARROW, _ARROW_CODED)))
def test_mutated_arrow_is_taken_or_refused(seed: int, stream: bytes) -> None:
    batch = ingest_pb2.Batch(batch_id=b"x", arrow_columns=_mutated(stream, seed))
    _taken_or_refused(batch, "batch.arrow_columns")


@given(st.lists(st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1).filter(lambda n: -(1 << 63) <= n) | st.floats()
    | st.text(max_size=3) | st.binary(max_size=2) | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
), max_size=4))  # fmt: skip
def test_any_value_as_rows_is_taken_or_refused(rows: list[Any]) -> None:
    _taken_or_refused(msgpack_batch(rows, b"x"), "batch.msgpack_rows")


@given(st.lists(st.tuples(
    st.one_of(st.none(), st.text(max_size=2), st.integers()), st.one_of(st.none(), st.text(max_size=2)), st.none(),
    st.one_of(st.integers(-5, NOW_MS), st.floats()), st.one_of(st.none(), st.text(max_size=1)),
    st.dictionaries(st.text(max_size=2), st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(max_size=2),
        st.datetimes(timezones=st.just(UTC)), st.lists(st.integers(0, 3), max_size=2),
    ), max_size=3),
), max_size=6))  # fmt: skip
def test_rows_of_the_right_shape_are_taken_or_refused_one_by_one(rows: list[tuple[Any, ...]]) -> None:
    integers = [row for row in rows if not isinstance(row[0], int) or -(1 << 63) <= row[0] < 1 << 63]
    # A message id that two users give is taken once: each row gets one of its own in the place of it.
    own = [[*row[:4], f"{row[4]}{n}" if row[4] else row[4], *row[5:]] for n, row in enumerate(integers)]
    found = columnarise(msgpack_batch(own, b"x"), NOW_MS)
    assert sorted([*found.positions.tolist(), *(error.index for error in found.errors)]) == list(range(len(integers)))
    assert all(error.code and error.message for error in found.errors)
    _state(found.batch)


def test_the_message_of_a_record_is_the_record() -> None:
    assert message_of(_FUZZED[0]).event.properties["n"].integer == 1
