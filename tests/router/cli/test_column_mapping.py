"""A file's columns sent as columns give the records and rejections that its rows give."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cdp.v1 import ingest_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cli.data.column_mapping import columns_mappable, map_columns
from cdp_router.cli.data.row_mapping import ColumnMapping, RowRejected, problem_in, to_row
from cdp_router.cli.data.sources import open_source
from cdp_router.contract.arrow_streams import VALUE
from cdp_router.records.columnarise import columnarise
from cdp_store.limits import STRING_BYTES_MAX
from tests.router.batch_contents import contents
from tests.router.encodings import DAY_MS, arrow_batch, fresh_batch_id
from tests.router.local_cluster import NOW_MS

USUAL = ColumnMapping()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Outcome = tuple[list[Any], list[tuple[int, str]]]


def _sorted(batch: ingest_pb2.Batch, rows: list[int], rejected: list[tuple[int, str]]) -> Outcome:
    """(records with their row, rejections by row) of a batch whose records stood at `rows`."""
    found = columnarise(batch, NOW_MS)
    records = [
        (rows[position], *record[:4], sorted(record[4]))
        for position, record in zip(found.positions.tolist(), contents(found.batch), strict=True)
    ]
    return records, sorted([*rejected, *((rows[error.index], error.code) for error in found.errors)])


def _by_rows(path: Path, mapping: ColumnMapping) -> Outcome:
    sent, rows, rejected = list[Any](), list[int](), list[tuple[int, str]]()
    for found in open_source(path, None).read():
        assert found.record is not None
        try:
            row = to_row(found.record, mapping)
            if problem := problem_in(row):
                raise problem
            sent.append(msgspec.msgpack.encode(row))
            rows.append(found.line - 1)
        except RowRejected as error:
            said = error.reason if error.code == "RECORD_MALFORMED" else error.code
            rejected.append((found.line - 1, said))
    packed = b"\xdd" + len(sent).to_bytes(4, "big") + b"".join(sent)
    return _sorted(ingest_pb2.Batch(batch_id=fresh_batch_id(), msgpack_rows=packed), rows, rejected)


def _by_columns(path: Path, mapping: ColumnMapping) -> Outcome | None:
    columns = open_source(path, None).columns
    assert columns is not None
    if not columns_mappable(columns.schema, mapping):
        return None
    [batch] = columns.read()
    mapped = map_columns(batch, mapping)
    if mapped is None:
        return None
    return _sorted(arrow_batch(mapped.columns), mapped.rows.tolist(), mapped.rejected)


def _written(folder: Path, table: pa.Table) -> Path:
    path = folder / "f.parquet"
    pq.write_table(table, path)
    return path


# Types with values of each, good and bad.
_TEXT = (pa.string(), ("a", "b", "größe", "", None, "x" * (STRING_BYTES_MAX + 1)))
_PROPERTIES: tuple[tuple[pa.DataType, tuple[Any, ...]], ...] = (
    _TEXT, (pa.large_string(), ("a", None)), (pa.int64(), (0, -1, (1 << 63) - 1, None)), (pa.uint8(), (0, 255)),
    (pa.uint64(), (0, 1 << 62, None)), (pa.float64(), (0.5, -0.0, None, float("nan"), float("inf"))),
    (pa.float32(), (0.5, 0.1, None)), (pa.bool_(), (True, False, None)), (pa.decimal128(9, 2), (Decimal("1.25"), None)),
    (pa.timestamp("us", "UTC"), (NOON, None)), (pa.timestamp("ms"), (NOON.replace(tzinfo=None), None)),
    (pa.timestamp("ns", "Asia/Kolkata"), (NOON, None)), (pa.date32(), (date(2026, 1, 1), None)),
    (pa.list_(pa.string()), (["a", "b"], [], None, ["a", None], ["x"] * 101)), (pa.list_(pa.int32()), ([1, 300], None)),
    (pa.dictionary(pa.int32(), pa.string()), ("a", "b", None)), (pa.null(), (None,)),
)  # fmt: skip
_IDS: tuple[tuple[pa.DataType, tuple[Any, ...]], ...] = (
    (pa.string(), ("ann", "bob", "", None, "u" * 513)), (pa.int64(), (7, -7, None)), (pa.uint16(), (7, 8)),
    (pa.dictionary(pa.int32(), pa.string()), ("ann", "bob", None)), (pa.null(), (None,)), (pa.large_string(), ("ann",)),
)  # fmt: skip
_TIMES: tuple[tuple[pa.DataType, tuple[Any, ...]], ...] = (
    (pa.int64(), (NOW_MS, 0, -1, NOW_MS + DAY_MS + 1, None, -(1 << 50))), (pa.int32(), (0, 5, -5)),
    (pa.timestamp("ms", "UTC"), (NOON, None)), (pa.timestamp("us"), (NOON.replace(tzinfo=None), None)),
    (pa.timestamp("s"), (NOON.replace(tzinfo=None), None)), (pa.timestamp("ns"), (1_767_268_800_123_456_789, -1, None)),
    (pa.date32(), (date(2026, 1, 1), None)), (pa.null(), (None,)),
)  # fmt: skip


def _table(chance: random.Random) -> pa.Table:
    rows = chance.choice((1, 3, 7))

    def column(choices: tuple[tuple[pa.DataType, tuple[Any, ...]], ...]) -> pa.Array:
        kind, values = chance.choice(choices)
        good = values[:2] if chance.random() < 0.6 else values
        return pa.array([chance.choice(good) for _ in range(rows)], kind)

    columns = {}
    for name, choices, share in (
        ("user_id", _IDS, 0.9), ("anonymous_id", _IDS, 0.3), ("event", _IDS[:1] + _IDS[3:4], 0.8), ("ts", _TIMES, 0.95),
        ("message_id", _IDS[:2], 0.3), ("p", _PROPERTIES, 0.8), ("a.b", _PROPERTIES, 0.5), ("q", _PROPERTIES, 0.5),
    ):  # fmt: skip
        if chance.random() < share:
            columns[name] = column(choices)
    columns.setdefault("p", column(_PROPERTIES[2:3]))
    names = chance.sample(list(columns), len(columns))
    return pa.table({name: columns[name] for name in names})


_MAPPINGS = (
    USUAL, ColumnMapping(event_name="Buy"), ColumnMapping(default_time_ms=NOW_MS - 5), ColumnMapping(time_unit="s"),
    ColumnMapping(time_unit="us", default_time_ms=5), ColumnMapping(user_id="q"), ColumnMapping(event="p"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@given(st.integers(0, 1 << 40), st.sampled_from(_MAPPINGS))
@settings(max_examples=150)
def test_columns_give_what_rows_give(folder: Path, seed: int, mapping: ColumnMapping) -> None:
    path = _written(folder, _table(random.Random(seed)))
    by_columns = _by_columns(path, mapping)
    if by_columns is not None:
        assert by_columns == _by_rows(path, mapping)


def test_most_random_tables_are_mappable() -> None:
    tables = [_table(random.Random(seed)) for seed in range(100)]
    assert sum(columns_mappable(table.schema, USUAL) for table in tables) > 60


def _event(**columns: Any) -> pa.Table:
    return pa.table({"user_id": ["ann"], "event": ["View"], "time": [5], **columns})


@pytest.mark.parametrize(
    "table",
    [
        _event(properties=[{"a": 1}]), _event(attributes=["{}"]), _event(p=[{"a": 1}]), _event(p=[[["a"]]]),
        _event(p=[b"x"]), _event(**{"": [1]}), _event(**{"p" * 121: [1]}), _event(user_id=[0.5]),
        _event(user_id=[True]), _event(time=["2026-01-01"]), _event(time=[0.5]), _event(p=[[NOON]]),
        _event(p=pa.array(["a"]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.binary()))),
        pa.table([["ann"], [5], [1], [2]], ["user_id", "time", "p", "p"]),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_columns_cannot_say_is_left_to_rows(table: pa.Table) -> None:
    assert not columns_mappable(table.schema, USUAL)


def test_a_column_with_a_name_that_the_contract_uses_is_left_to_rows() -> None:
    table = pa.table({"who": ["ann"], "event": ["View"], "time": [5], "user_id": ["other"]})
    assert columns_mappable(table.schema, USUAL)
    assert not columns_mappable(table.schema, ColumnMapping(user_id="who"))


def test_integers_beyond_64_bits_are_left_to_rows(tmp_path: Path) -> None:
    path = _written(tmp_path, _event(p=pa.array([1 << 63], pa.uint64())))
    assert _by_columns(path, USUAL) is None
    assert _by_rows(path, USUAL) == ([], [(0, "INTEGER_OUT_OF_RANGE")])


def test_what_is_exported_means_the_same_as_columns_and_as_rows(tmp_path: Path) -> None:
    values: list[list[dict[str, Any]] | None] = [
        [{"name": "n", "integer": 1}, {"name": "a.b", "number": 2.0}, {"name": "t", "text": "007"}],
        [{"name": "at", "time": NOON}, {"name": "l", "list": '["x",1,{"k":2.0}]'}, {"name": "f", "boolean": False}],
        [{"name": "gone"}],
        [],
    ]
    table = pa.table(
        {
            "profile_kind": ["user_id", "anonymous_id", "user_id", "email"],
            "profile_id": ["7", "d-1", "u", "a@x.org"],
            "linked_kind": ["email", None, "anonymous_id", "anonymous_id"],
            "linked_id": ["b@x.org", None, "d-2", "d-3"],
            "time": [NOON] * 4,
            "event": ["View", "View", None, None],
            "values": pa.array(values, pa.list_(VALUE)),
        }
    )
    path = tmp_path / "exported.parquet"
    pq.write_table(table, path)
    by_columns = _by_columns(path, USUAL)
    assert by_columns is not None and len(by_columns[0]) == 4
    assert by_columns == _by_rows(path, USUAL)
