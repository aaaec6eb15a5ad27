"""Parquet files of every type: each value arrives as it is, or its record is refused with the reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cli.data import importing
from cdp_router.cli.data.sources import SourceInvalid, open_source
from cdp_router.importing.numbers import INT64_MAX
from cdp_router.importing.read_options import Reading
from tests.router.imported_files import Imported, Record, imported

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_MS = 1_772_366_400_000
FAR_US = 253_402_300_800_000_000  # 10000-01-01


def _written(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    """A file of these columns, with user ids, events and times where none are given."""
    rows = len(next(iter(columns.values())))
    whole = {"user_id": [f"u{number}" for number in range(rows)], "event": ["Buy"] * rows, "time": [NOON] * rows}
    path = folder / "f.parquet"
    pq.write_table(pa.table({**whole, **columns}), path, **options)
    return path


def _values(folder: Path, column: pa.Array, reading: Reading | None = None) -> tuple[list[Any], Imported]:
    """What is stored of the values of a column, alone and in a file that has to go by rows: both the same."""
    alone = imported(_written(folder, {"p": column}), reading=reading)
    rows = imported(_written(folder, {"p": column, "o": [{"x": 1}] * len(column)}), reading=reading)
    found = [[record.values.get("p") for record in records] for records, _ in (alone, rows)]
    assert repr(found[0]) == repr(found[1])
    assert alone[1].codes == rows[1].codes
    return found[0], alone[1]


def _users(records: list[Record]) -> list[str]:
    return [record.user for record in records]


# ----------------------------------------------------------------------------------------------------- ids and decimals


@pytest.mark.parametrize(
    ("kind", "values", "users"),
    [
        (pa.decimal128(38, 0), [Decimal(9007199254740993), Decimal(9007199254740992)], None),
        (pa.decimal128(38, 0), [Decimal(10**37 + 1), Decimal(10**37 + 2)], None),
        (pa.decimal256(60, 0), [Decimal(10**50 + 1), Decimal(10**50 + 2)], None),
        (pa.decimal128(20, 2), [Decimal("9007199254740993.00"), Decimal("1.00")], ["9007199254740993", "1"]),
        (pa.int64(), [9007199254740993, -5], None),
        (pa.uint64(), [(1 << 64) - 1, (1 << 63)], None),
        (pa.float64(), [1.0, 17850.0], ["1", "17850"]),
        (pa.dictionary(pa.int8(), pa.int64()), [7, 8], None),
        (pa.string_view(), ["a", "größe"], None),
    ],
    ids=repr,
)
def test_numbers_as_user_ids_keep_every_digit(
    tmp_path: Path, kind: pa.DataType, values: list[Any], users: list[str] | None
) -> None:
    if pa.types.is_dictionary(kind):
        ids = pa.array(values, kind.value_type).dictionary_encode()
    else:
        ids = pa.array(values, kind)
    records, outcome = imported(_written(tmp_path, {"user_id": ids}))
    assert outcome.codes == {}
    assert _users(records) == (users or [str(value) for value in values])


def test_a_float_that_stands_for_several_ids_is_refused(tmp_path: Path) -> None:
    records, outcome = imported(_written(tmp_path, {"user_id": pa.array([float(1 << 53), 7.5, 7.0])}))
    assert _users(records) == ["7"]
    assert outcome.codes == {"RECORD_MALFORMED": 2}
    assert "row 1" in outcome.said and "row 2" in outcome.said


@pytest.mark.parametrize(
    ("kind", "text", "stored"),
    [
        (pa.decimal128(10, 2), "12.50", 12.5),
        (pa.decimal128(38, 2), "0.07", 0.07),
        (pa.decimal128(38, 15), "0.290000000000000", 0.29),
        (pa.decimal128(18, 0), "12", 12),
        (pa.decimal128(38, 0), "9007199254740993", 9007199254740993),
        (pa.decimal128(38, 2), "9007199254740993.00", 9007199254740993),
        (pa.decimal256(70, 30), "1.25", 1.25),
        (pa.decimal32(5, 2), "1.25", 1.25),
        (pa.decimal64(12, 4), "-1.25", -1.25),
    ],
    ids=repr,
)
def test_a_decimal_is_the_nearest_number_or_the_integer(
    tmp_path: Path, kind: pa.DataType, text: str, stored: Any
) -> None:
    values, outcome = _values(tmp_path, pa.array([Decimal(text), None], kind))
    assert outcome.codes == {}
    assert repr(values) == repr([stored, None])


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        (pa.decimal128(38, 0), str(1 << 63), "INTEGER_OUT_OF_RANGE"),
        (pa.decimal256(76, 0), "9" * 70, "INTEGER_OUT_OF_RANGE"),
        (pa.decimal128(38, 18), "0.123456789012345678", "NUMBER_INEXACT"),
        (pa.decimal128(38, 2), "12345678901234567.89", "NUMBER_INEXACT"),
        (pa.decimal256(76, 40), "0." + "3" * 40, "NUMBER_INEXACT"),
    ],
    ids=repr,
)
def test_a_decimal_that_no_number_is_costs_its_record_or_is_kept_as_text(
    tmp_path: Path, kind: pa.DataType, text: str, code: str
) -> None:
    column = pa.array([Decimal(1), Decimal(text)], kind)
    _, outcome = _values(tmp_path, column)
    assert outcome.codes == {code: 1}
    assert "f.parquet row 2: 'p': " in outcome.said and "--as-text" in outcome.said
    values, outcome = _values(tmp_path, column, Reading(as_text=frozenset("p")))
    assert (values[1], outcome.codes) == (text, {})


@settings(max_examples=40)
@given(st.integers(-(10**15), 10**15), st.integers(0, 25))
def test_decimals_are_rounded_once(tmp_path_factory: pytest.TempPathFactory, digits: int, scale: int) -> None:
    value = Decimal(digits).scaleb(-scale)
    values, outcome = _values(tmp_path_factory.getbasetemp(), pa.array([value], pa.decimal128(38, scale)))
    if not outcome.codes:
        assert values == [float(value) if scale else digits]


# ------------------------------------------------------------------------------------- what is inside structs and lists


def test_what_is_inside_of_structs_and_lists_keeps_its_type(tmp_path: Path) -> None:
    inner = pa.struct([("price", pa.decimal128(10, 2)), ("at", pa.timestamp("us")), ("day", pa.date32())])
    row = {"price": Decimal("12.50"), "at": NOON.replace(tzinfo=None), "day": NOON.date()}
    table = {
        "price": pa.array([Decimal("12.50")], pa.decimal128(10, 2)),
        "o": pa.array([row], inner),
        "l": pa.array([[Decimal("1.5"), None]], pa.list_(pa.decimal128(10, 2))),
        "t": pa.array([[NOON]], pa.large_list(pa.timestamp("ns", "UTC"))),
        "s": pa.array([[row]], pa.list_(inner)),
    }
    [record], outcome = imported(_written(tmp_path, table))
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    assert outcome.codes == {}
    assert record.values == {
        "price": 12.5, "o.price": 12.5, "o.at": NOON, "o.day": midnight, "l": [1.5, None], "t": [NOON],
        "s": [{"price": 12.5, "at": NOON, "day": midnight}],
    }  # fmt: skip
    assert isinstance(record.values["o.price"], float)


def test_maps_are_properties_and_attributes(tmp_path: Path) -> None:
    of_texts = pa.map_(pa.string(), pa.string())
    columns = {"properties": pa.array([[("a", "1"), ("b", "2")], None], of_texts)}
    records, outcome = imported(_written(tmp_path, columns))
    assert ([record.values for record in records], outcome.codes) == ([{"a": "1", "b": "2"}, {}], {})
    columns = {
        "attributes": pa.array([[("plan", "gold"), ("city", None)]], of_texts),
        "event": pa.nulls(1, pa.string()),
    }
    [record], outcome = imported(_written(tmp_path, columns))
    assert (record.event, record.values) == (None, {"plan": "gold", "city": None})
    numbers = pa.map_(pa.int32(), pa.decimal128(9, 2))
    [record], _ = imported(_written(tmp_path, {"properties": pa.array([[(1, Decimal("2.5"))]], numbers)}))
    assert record.values == {"1": 2.5}


def test_a_map_that_names_a_value_twice_costs_its_record(tmp_path: Path) -> None:
    twice = pa.array([[("a", 1), ("a", 2)], [("a", 3)]], pa.map_(pa.string(), pa.int64()))
    records, outcome = imported(_written(tmp_path, {"p": twice}))
    assert [record.values for record in records] == [{"p.a": 3}]
    assert outcome.codes == {"VALUE_UNUSABLE": 1} and "'p': the map holds 'a' twice" in outcome.said


def test_a_field_that_a_row_of_a_struct_lacks_removes_nothing_unless_asked(tmp_path: Path) -> None:
    fields = pa.struct([("plan", pa.string()), ("at", pa.struct([("city", pa.string()), ("zip", pa.string())]))])
    attributes = pa.array([{"plan": "gold"}, {"at": {"city": "Pune"}}], fields)
    path = _written(tmp_path, {"attributes": attributes, "event": pa.nulls(2, pa.string())})
    records, _ = imported(path)
    assert [record.values for record in records] == [{"plan": "gold"}, {"at.city": "Pune"}]
    records, _ = imported(path, reading=Reading(nulls="unset"), nulls="unset")
    assert [record.values for record in records] == [
        {"plan": "gold", "at": None}, {"plan": None, "at": None, "at.city": "Pune", "at.zip": None},
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- times


def test_instants_of_96_bits_do_not_wrap_round(tmp_path: Path) -> None:
    far = [datetime(9999, 12, 31), datetime(1, 1, 1), datetime(1600, 1, 1, 0, 0, 0, 1), datetime(2026, 3, 1, 12)]
    path = _written(tmp_path, {"p": pa.array(far, pa.timestamp("us"))}, use_deprecated_int96_timestamps=True)
    records, outcome = imported(path)
    found = [record.values["p"].replace(tzinfo=None) for record in records]
    assert (found, outcome.codes) == ([*far[:2], datetime(1600, 1, 1), far[3]], {})


@pytest.mark.parametrize(
    ("kind", "good", "far"),
    [
        (pa.timestamp("us"), 1_772_366_400_000_000, FAR_US),
        (pa.timestamp("ms", "Asia/Kolkata"), 1_772_366_400_000, FAR_US // 1000),
        (pa.timestamp("s"), 1_772_366_400, -(1 << 52)),
        (pa.timestamp("us"), 1_772_366_400_000_000, INT64_MAX),
        (pa.date32(), 20_513, (1 << 31) - 1),
        (pa.date64(), 20_513 * 86_400_000, 86_400_000 * 10**9),
    ],
    ids=repr,
)
def test_an_instant_beyond_the_calendar_costs_its_record(
    tmp_path: Path, kind: pa.DataType, good: int, far: int
) -> None:
    raw = pa.array([good, far, good], pa.int32() if kind == pa.date32() else pa.int64())
    column = raw.view(kind)
    values, outcome = _values(tmp_path, column)
    assert (len(values), outcome.codes) == (2, {"TIME_INVALID": 1})
    assert "row 2" in outcome.said
    for more in ({}, {"o": [{"x": 1}] * 3}):
        records, outcome = imported(_written(tmp_path, {"time": column, **more}))
        assert (_users(records), outcome.codes) == (["u0", "u2"], {"TIME_INVALID": 1})


def test_times_of_a_day_and_lengths_of_time_are_texts_to_the_last_digit(tmp_path: Path) -> None:
    columns = [
        (pa.array([time(9, 30), None], pa.time32("s")), ["09:30:00", None]),
        (pa.array([time(9, 30, 0, 5)], pa.time64("us")), ["09:30:00.000005"]),
        (pa.array([34_200_000_000_001], pa.int64()).view(pa.time64("ns")), ["09:30:00.000000001"]),
        (pa.array([timedelta(seconds=90), -timedelta(milliseconds=1)], pa.duration("ms")), ["PT90S", "-PT0.001S"]),
    ]
    for column, texts in columns:
        assert _values(tmp_path, column)[0] == texts


def test_dates_and_zones_are_instants(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    for column, instant in (
        (pa.array([date(2026, 3, 1)], pa.date32()), midnight), (pa.array([date(2026, 3, 1)], pa.date64()), midnight),
        (pa.array([NOON], pa.timestamp("ns", "America/New_York")), NOON), (pa.array([NOON], pa.timestamp("s")), NOON),
    ):  # fmt: skip
        assert _values(tmp_path, column)[0] == [instant]


# ------------------------------------------------------------------------------------------------------ texts and bytes


def _latin1(kind: pa.DataType = pa.string()) -> pa.Array:
    """Three texts, the second of them no UTF-8."""
    wide = pa.large_binary() if kind == pa.large_string() else pa.binary()
    return pa.Array.from_buffers(kind, 3, pa.array([b"Pune", b"M\xfcnchen", b"Goa"], wide).buffers())


@pytest.mark.parametrize("name", ["city", "user_id", "event", "message_id"])
@pytest.mark.parametrize("more", [{}, {"o": [{"x": 1}] * 3}], ids=("columns", "rows"))
def test_a_text_that_is_no_utf8_costs_its_record_alone(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    records, outcome = imported(_written(tmp_path, {name: _latin1(), **more}))
    assert len(records) == 2 and outcome.codes == {"TEXT_INVALID": 1}
    assert "f.parquet row 2" in outcome.said and "0xfc" in outcome.said


def test_texts_that_are_no_utf8_inside_of_others_cost_their_records_alone(tmp_path: Path) -> None:
    for column in (
        pa.StructArray.from_arrays([_latin1()], ["x"]),
        pa.ListArray.from_arrays([0, 1, 2, 3], _latin1()),
        pa.MapArray.from_arrays([0, 1, 2, 3], pa.array(["a"] * 3), _latin1()),
        pa.MapArray.from_arrays([0, 1, 2, 3], _latin1(), pa.array(["a"] * 3)),
        _latin1(pa.large_string()),
    ):
        records, outcome = imported(_written(tmp_path, {"p": column}))
        assert (_users(records), outcome.codes) == (["u0", "u2"], {"TEXT_INVALID": 1})


def test_a_text_that_is_no_utf8_behind_many_rows_costs_its_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_COLUMN_ROWS", 100)
    many = pa.array([f"city {number % 7}" for number in range(250)])
    column = pa.chunked_array([many, _latin1()])
    records, outcome = imported(_written(tmp_path, {"city": column}))
    assert (len(records), outcome.codes) == (252, {"TEXT_INVALID": 1})
    assert "row 252" in outcome.said


def test_bytes_are_refused_unless_it_is_said_what_they_are(tmp_path: Path) -> None:
    column = pa.array([b"Pune", b"M\xfcnchen", None], pa.binary())
    values, outcome = _values(tmp_path, column)
    assert (values, outcome.codes) == ([None], {"VALUE_UNUSABLE": 2}) and "--binary" in outcome.said
    values, outcome = _values(tmp_path, column, Reading(binary="text"))
    assert (values, outcome.codes) == (["Pune", None], {"TEXT_INVALID": 1})
    assert _values(tmp_path, column, Reading(binary="hex"))[0] == ["50756e65", "4dfc6e6368656e", None]
    assert _values(tmp_path, column, Reading(binary="base64"))[0] == ["UHVuZQ==", "TfxuY2hlbg==", None]


def test_ids_and_names_of_bytes_are_read_as_text_where_that_is_said(tmp_path: Path) -> None:
    columns = {"user_id": pa.array([b"ann", b"bob"], pa.binary()), "event": pa.array([b"Buy"] * 2, pa.large_binary())}
    records, outcome = imported(_written(tmp_path, columns), reading=Reading(binary="text"))
    assert ([(record.user, record.event) for record in records], outcome.codes) == (
        [("ann", "Buy"), ("bob", "Buy")],
        {},
    )
    _, outcome = imported(_written(tmp_path, columns))
    assert outcome.codes == {"VALUE_UNUSABLE": 2} and "--binary text" in outcome.said


# --------------------------------------------------------------------------------------------------------- other types


def test_types_that_only_say_how_values_are_stored_change_nothing(tmp_path: Path) -> None:
    values = ["a", None, "größe"]
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        assert _values(tmp_path, pa.array(values, kind))[0] == values
    lists = [[1, 2], None, [3, 4]]
    for kind in (pa.list_(pa.int8()), pa.large_list(pa.uint32()), pa.list_(pa.int64(), 2)):
        assert _values(tmp_path, pa.array(lists, kind))[0] == lists
    assert _values(tmp_path, pa.array([1.5, None], pa.float16()))[0] == [1.5, None]


def test_extension_types_are_what_they_stand_for_or_refused(tmp_path: Path) -> None:
    known = pa.array([b"\x00" * 15 + b"\x01"], pa.uuid())
    assert _values(tmp_path, known)[0] == ["00000000-0000-0000-0000-000000000001"]
    assert _values(tmp_path, pa.array([1, 0, None], pa.bool8()))[0] == [True, False, None]
    said = {"ARROW:extension:name": "pandas.period", "ARROW:extension:metadata": '{"freq": "M"}'}
    period = pa.field("p", pa.int64(), metadata=said)
    table = pa.table({"user_id": ["u"], "event": ["Buy"], "time": [NOON]}).append_column(period, [[674]])
    pq.write_table(table, tmp_path / "f.parquet")
    records, outcome = imported(tmp_path / "f.parquet")
    assert (records, outcome.codes) == ([], {"VALUE_UNUSABLE": 1}) and "pandas.period" in outcome.said


def test_the_index_of_a_data_frame_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    for name in ("__index_level_0__", ""):
        columns = {name: [0, 1], "user_id": ["a", "b"], "event": ["Buy"] * 2, "time": [NOON] * 2}
        pq.write_table(pa.table(columns), tmp_path / "f.parquet")
        source = open_source(tmp_path / "f.parquet", None)
        assert "index" in source.assumed[0]
        records, outcome = imported(tmp_path / "f.parquet")
        assert ([record.values for record in records], outcome.codes) == ([{}, {}], {})


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"]], ["user_id", "user_id"]), tmp_path / "f.parquet")
    with pytest.raises(SourceInvalid, match="one name"):
        open_source(tmp_path / "f.parquet", None)


def test_columns_can_be_left_out(tmp_path: Path) -> None:
    path = _written(tmp_path, {"p": [b"x"], "o": [{"a": 1, "b": b"x"}]})
    [record], _ = imported(path, reading=Reading(skip=frozenset(("p", "o.b"))))
    assert record.values == {"o.a": 1}
