"""From a file's columns to the row a cluster takes."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdp_router.cli.data.row_mapping import ColumnMapping, RowRejected, to_row
from cdp_router.cli.data.sources import open_source
from cdp_router.records.columnarise import columnarise
from tests.router.encodings import msgpack_batch
from tests.router.local_cluster import NOW_MS

NOON_MS = 1_767_268_800_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
USUAL = ColumnMapping()


def _record(**fields: Any) -> dict[str, Any]:
    return {"user_id": "ann", "event": "View", "time": NOON_MS, **fields}


def _time(value: Any, **mapping: Any) -> int:
    return to_row(_record(time=value), ColumnMapping(**mapping))[3]


def test_the_usual_names_are_found() -> None:
    record = {
        "userId": "ann", "anonymousId": "x", "event_name": "View", "timestamp": NOON_MS, "messageId": "m", "page": "p1",
        "properties": {"n": 1},
    }  # fmt: skip
    assert to_row(record, USUAL) == ("View", "ann", "x", NOON_MS, "m", {"n": 1, "page": "p1"})
    record = {"user_id": "ann", "ts": NOON_MS, "traits": {"plan": "gold"}}
    assert to_row(record, USUAL) == (None, "ann", None, NOON_MS, None, {"plan": "gold"})


def test_columns_that_are_given_go_before_the_usual_names() -> None:
    record = {"user_id": "wrong", "who": "ann", "what": "Buy", "when": NOON_MS, "event": "View"}
    mapping = ColumnMapping(user_id="who", event="what", time="when")
    assert to_row(record, mapping) == ("Buy", "ann", None, NOON_MS, None, {"user_id": "wrong", "event": "View"})


def test_a_column_that_is_given_but_missing_is_no_column() -> None:
    assert to_row(_record(), ColumnMapping(user_id="who"))[1] is None


def test_the_event_name_may_be_the_same_for_all() -> None:
    assert to_row({"user_id": "ann", "time": 1}, ColumnMapping(event_name="Buy"))[0] == "Buy"
    assert to_row(_record(), ColumnMapping(event_name="Buy"))[0] == "View"


def test_properties_and_attributes_may_be_json() -> None:
    assert to_row(_record(properties='{"n": 1, "address": {"city": "Oslo"}}'), USUAL)[5] == {
        "n": 1, "address": {"city": "Oslo"},
    }  # fmt: skip
    row = to_row({"user_id": "ann", "time": 1, "attributes": '{"plan": null}'}, USUAL)
    assert row[0] is None
    assert row[5] == {"plan": None}


@pytest.mark.parametrize("value", ["{", "[1]", "5", "", [1], 5])
def test_a_column_of_properties_that_holds_none_is_refused(value: Any) -> None:
    with pytest.raises(RowRejected, match="'properties'"):
        to_row(_record(properties=value), USUAL)


def test_a_record_that_is_neither_event_nor_attributes_says_what_to_map() -> None:
    with pytest.raises(RowRejected, match="--event"):
        to_row({"user_id": "ann", "time": 1, "page": 5}, USUAL)


def test_columns_of_an_export_are_those_of_one_only_together() -> None:
    own = {"profile_id": "p-7", "linked_kind": "x", "time_properties": "t", "values": [1]}
    assert to_row(_record(**own), USUAL)[5] == own
    mine = {"profile_kind": "email", "profile_id": "a@x.org", "time": NOON_MS}
    assert to_row(mine, USUAL)[0] is None and to_row(mine, USUAL)[6:] == ({"email": "a@x.org"},)
    given = {"properties": {"at": "2026-01-01T12:00:00Z", "t": "2026-01-01"}, "time_properties": ["at"], "linked_id": 7}
    assert to_row({**mine, "event": "E", **given}, USUAL)[5:] == (
        {"at": NOON, "t": "2026-01-01", "linked_id": 7}, {"email": "a@x.org"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"values": [1]}, {"values": "x"}, {"values": [{"name": "l", "list": "["}]}, {"time_properties": "["},
     {"time_properties": [1]}, {"time_properties": ["at"], "properties": {"at": "soon"}}],
)  # fmt: skip
def test_what_is_wrong_with_an_export_costs_its_record(wrong: dict[str, Any]) -> None:
    with pytest.raises(RowRejected):
        to_row({"profile_kind": "email", "profile_id": "a@x.org", "time": NOON_MS, "event": "E", **wrong}, USUAL)


def test_columns_without_value_are_left_out() -> None:
    assert to_row(_record(page=None, n=0), USUAL)[5] == {"n": 0}


@pytest.mark.parametrize("value", [["ann"], {"id": "ann"}, True, float("nan")], ids=repr)
@pytest.mark.parametrize("column", ["user_id", "anonymous_id", "message_id", "event"])
def test_an_id_or_name_that_is_none_is_refused(column: str, value: Any) -> None:
    with pytest.raises(RowRejected, match=column):
        to_row(_record(**{column: value}), USUAL)


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (17850.0, "17850"), ("", ""), (None, None), ("007", "007")])
def test_a_number_as_an_id_is_its_digits(value: Any, text: str | None) -> None:
    assert to_row(_record(user_id=value), USUAL)[1] == text


# ----------------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("value", "unit", "ms"),
    [
        (NOON_MS, "ms", NOON_MS), (NOON_MS // 1000, "s", NOON_MS), (NOON_MS * 1000, "us", NOON_MS),
        (NOON_MS * 1_000_000, "ns", NOON_MS), (str(NOON_MS), "ms", NOON_MS), (str(NOON_MS // 1000), "s", NOON_MS),
        ("-1", "s", -1000), (-1.5, "ms", -2), (-1, "us", -1), (0.25, "s", 250),
    ],
)  # fmt: skip
def test_a_number_is_a_time_in_the_unit_given(value: Any, unit: str, ms: int) -> None:
    assert _time(value, time_unit=unit) == ms


@given(st.integers(-(10**12), 10**13), st.sampled_from((("us", 1000), ("ns", 1_000_000))))
def test_no_millisecond_is_lost_in_a_finer_unit(ms: int, unit: tuple[str, int]) -> None:
    assert _time(ms * unit[1], time_unit=unit[0]) == ms
    assert _time(str(ms * unit[1]), time_unit=unit[0]) == ms
    assert _time(ms * unit[1] + unit[1] - 1, time_unit=unit[0]) == ms


@given(st.integers(-(10**12), 10**13))
@example(272_926_379_020)
def test_no_millisecond_is_lost_in_seconds_with_a_fraction(ms: int) -> None:
    assert _time(ms / 1000, time_unit="s") == ms


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T12:00:00Z", "2026-01-01 12:00:00", "2026-01-01T13:00:00+01:00", "2026-01-01T12:00:00.000999Z",
        NOON, NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=-5))),
    ],
    ids=str,
)  # fmt: skip
def test_an_iso_time_without_zone_is_utc(value: Any) -> None:
    assert _time(value) == NOON_MS
    assert _time(value, time_unit="s") == NOON_MS


def test_a_date_is_its_first_instant() -> None:
    assert _time(date(2026, 1, 1)) == _time("2026-01-01") == NOON_MS - 43_200_000


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        True,
        "yesterday",
        "--5",
        "²",
        "5-",
        "1" * 5000,
        float("nan"),
        float("inf"),
        {"a": 1},
        [1],
        "2026-13-01",
        "1e400",
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_time_is_refused_with_a_reason(value: Any) -> None:
    with pytest.raises(RowRejected, match="time"):
        _time(value)


def test_a_default_time_stands_where_none_is_given() -> None:
    assert _time(None, default_time_ms=5) == 5
    assert to_row({"user_id": "ann", "event": "View"}, ColumnMapping(default_time_ms=5))[3] == 5
    assert _time("", default_time_ms=5) == 5
    assert _time(7, default_time_ms=5) == 7


# ---------------------------------------------------------------------------------------------------- files, end to end


def _rows(path: Path, mapping: ColumnMapping = USUAL) -> list[Any]:
    return [to_row(found.record, mapping) for found in open_source(path, None).read() if found.record is not None]


# Ids are names, not numbers: each must arrive as it is written.
_IDS = [
    "007",
    "12347",
    "1e5",
    "1.10",
    "1.1",
    "-0",
    "0",
    "true",
    "True",
    "1_000",
    "99999999999999999999999",
    "1.0",
    "00",
    "+5",
]


@pytest.mark.parametrize("text", _IDS)
def test_ids_and_names_of_a_csv_file_are_kept_as_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"user_id,event,time,message_id,anonymous_id,n\n{text},{text},5,{text},{text},5\n")
    assert _rows(path) == [(text, text, text, 5, text, {"n": 5})]


def test_different_message_ids_of_a_csv_file_stay_different(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user_id,event,time,message_id\n" + "".join(f"u,View,5,{text}\n" for text in _IDS))
    assert len({row[4] for row in _rows(path)}) == len(_IDS)


def test_a_parquet_time_is_a_time_with_or_without_zone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "user_id": ["ann"],
        "event": ["View"],
        "time": pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us")),
        "with": pa.array([NOON], pa.timestamp("us", "UTC")),
        "without": pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us")),
        "day": pa.array([NOON.date()], pa.date32()),
    }
    pq.write_table(pa.table(columns), path)
    [row] = _rows(path)
    assert row[3] == NOON_MS
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(row))[5]
    assert sent == {"with": NOON, "without": NOON, "day": datetime(2026, 1, 1, tzinfo=UTC)}


def test_a_parquet_decimal_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"user_id": ["ann"], "event": ["View"], "time": [NOON_MS], "price": [decimal.Decimal("12.50")]}
    pq.write_table(pa.table(columns), path)
    [row] = _rows(path)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row))[5] == {"price": 12.5}


def test_rows_of_a_file_are_taken_by_the_router(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    lines = (
        '{"user_id": "ann", "event": "View", "time": 5, "p": [1, null, "x"], "m": {"n": 1.5}}',
        '{"user_id": 7, "event": 5, "time": "2026-01-01"}',
    )
    path.write_text("\n".join(lines))
    found = columnarise(msgpack_batch(_rows(path)), NOW_MS)
    assert found.errors == []
    assert found.batch.names == ("View", "5")
    assert found.batch.identities[1] == b"u7"


def test_further_identifiers_and_the_previous_id_of_an_alias() -> None:
    record = {
        "user_id": "u",
        "ts": 5,
        "event": "View",
        "identifiers": {"email": "a@x", "crm": 17},
        "identifiers.tel": "1",
    }
    assert to_row(record, ColumnMapping()) == (
        "View",
        "u",
        None,
        5,
        None,
        {},
        {"email": "a@x", "crm": "17", "tel": "1"},
    )
    alias = {"userId": "u", "previousId": "d", "ts": 5}
    assert to_row(alias, ColumnMapping()) == (None, "u", None, 5, None, {}, {"anonymous_id": "d"})
    assert to_row({"userId": "u", "previousId": None, "ts": 5, "event": "E"}, ColumnMapping())[-1] == {}
