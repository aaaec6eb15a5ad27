"""What is recognised as a repeat: a record by its message id, else by its content and its number among equal ones."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cdp.v1 import ingest_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cli.data import importing
from cdp_router.cluster.topology import ClusterFile
from cdp_router.importing.content_ids import ContentIds, Occurrences, lanes_of
from tests.router.imported_files import NOW_MS, Imported, Taking, import_into
from tests.router.local_cluster import KEY, local_cluster

IDS = ["f-dSXrUhsoV2uhuOXb4pXZ", "f-zNZLg5ckUrq33KvWO-Og", "f-eJ5ArFWKroWrcqBOkkMH"]
ROW_ID = b"f-DcPJJ464oxXYjukF_Jtx"
FORMATS = ("csv", "ndjson", "parquet", "rows")
Row = tuple[str, int]


def _write(path: Path, rows: list[Row], kind: str) -> Path:
    """Records of (user, amount) as a file; "rows": Parquet that has to go by rows."""
    records = [
        {"user_id": user, "event": "Buy", "time": f"2026-03-01T09:00:{amount % 60:02}Z", "amount": amount}
        for user, amount in rows
    ]
    match kind:
        case "csv":
            lines = ["user_id,event,time,amount", *(",".join(map(str, row.values())) for row in records)]
            path.write_text("\n".join(lines) + "\n")
        case "ndjson":
            path.write_text("".join(json.dumps(row) + "\n" for row in records))
        case _:
            table = pa.Table.from_pylist(
                records,
                pa.schema([(name, pa.string()) for name in ("user_id", "event", "time")] + [("amount", pa.int64())]),
            )
            table = table.set_column(2, "time", table.column("time").cast(pa.timestamp("us", "UTC")))
            if kind == "rows":
                table = table.append_column("o", pa.array([{"x": 1}] * len(rows), pa.struct([("x", pa.int64())])))
            pq.write_table(table, path, row_group_size=7)
    return path


def _counts(outcome: Imported) -> tuple[int, int]:
    assert outcome.codes == {}
    return outcome.accepted, outcome.duplicates


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_has_grown_was_renamed_copied_cut_or_reordered_is_recognised(tmp_path: Path, kind: str) -> None:
    rows = [(f"u{number % 3}", number % 8) for number in range(30)]  # some of them equal
    suffix = "parquet" if kind == "rows" else kind
    taking, path = Taking(), tmp_path / f"grow.{suffix}"

    def counts(rows: list[Row], path: Path = path) -> tuple[int, int]:
        return _counts(import_into(taking, [_write(path, rows, kind)]))

    assert counts(rows) == (30, 0)
    assert counts(rows) == (0, 30)
    assert counts([*rows, ("u9", 1)]) == (1, 30)
    assert counts([*rows, ("u9", 1)], tmp_path / f"copy.{suffix}") == (0, 31)
    assert counts(rows[:11], tmp_path / f"cut.{suffix}") == (0, 11)
    assert counts(random.Random(1).sample(rows, 30), tmp_path / f"other.{suffix}") == (0, 30)
    assert counts([("u9", 1), *rows[::-1], ("u0", 0)]) == (1, 31)  # one more that is equal to others is new
    assert len(taking.records) == 32


@pytest.mark.parametrize(("partitions", "shards"), [(1, 1), (16, 2)])
def test_repeats_are_recognised_by_clusters_of_any_number_of_partitions(
    tmp_path: Path, partitions: int, shards: int
) -> None:
    class Client:
        def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
            return cluster.ingest(batch)

    rows = [(f"u{number % 7}", number % 5) for number in range(60)]
    shape = ClusterFile("repeats", partitions, shards, KEY)
    with local_cluster(tmp_path / "cluster", cluster=shape) as cluster:
        cluster.clock.now = NOW_MS
        for kind in ("ndjson", "parquet"):
            path, copy = tmp_path / f"a.{kind}", tmp_path / f"copy.{kind}"
            assert _counts(import_into(Client(), [_write(path, rows, kind)], label=kind)) == (60, 0)
            assert _counts(import_into(Client(), [_write(path, [*rows, ("u", 1)], kind)], label=kind)) == (1, 60)
            assert _counts(import_into(Client(), [_write(copy, rows[::-1], kind)], label=kind)) == (0, 60)
        assert cluster.query('count("Buy") = 18').count == 4
        assert cluster.query('count("Buy") = 16').count == 3


@pytest.mark.parametrize("kind", FORMATS)
def test_equal_records_of_one_file_are_each_a_record(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_ROWS_PER_BATCH", 4)
    monkeypatch.setattr(importing, "_COLUMN_ROWS", 4)
    monkeypatch.setattr(importing, "_ROWS_OF_COLUMNS", 4)
    taking, path = Taking(), tmp_path / f"a.{'parquet' if kind == 'rows' else kind}"
    assert _counts(import_into(taking, [_write(path, [("u", 5)] * 11, kind)])) == (11, 0)
    assert _counts(import_into(taking, [_write(path, [("u", 5)] * 13, kind)])) == (2, 11)


def test_a_label_makes_equal_records_of_another_file_new_ones(tmp_path: Path) -> None:
    taking, path = Taking(), _write(tmp_path / "a.csv", [("u", 5)], "csv")
    assert _counts(import_into(taking, [path])) == (1, 0)
    assert _counts(import_into(taking, [path], label="shop 2")) == (1, 0)
    assert _counts(import_into(taking, [path], label="shop 2")) == (0, 1)


def test_records_with_message_ids_are_known_by_them_alone(tmp_path: Path) -> None:
    taking, path = Taking(), tmp_path / "a.ndjson"
    row: dict[str, Any] = {"user_id": "u", "event": "Buy", "time": "2026-03-01", "message_id": "m-1"}
    path.write_text(json.dumps(row))
    assert _counts(import_into(taking, [path])) == (1, 0)
    path.write_text(
        "".join(json.dumps({**row, **more}) + "\n" for more in ({"n": 1}, {"message_id": "m-2"}, {"message_id": ""}))
    )
    assert _counts(import_into(taking, [path])) == (2, 1)


def test_the_same_content_is_one_whatever_the_file_looks_like(tmp_path: Path) -> None:
    lines = [
        '{"user_id":"u","event":"Buy","time":"2026-03-01","a":1,"o":{"x":1,"y":2},"l":[{"p":1,"q":2}]}',
        ' {"l": [{"q":2, "p":1}], "time":1772323200, "n":null, "o":{"y":2,"x":1}, "a":1, "event":"Buy","user_id":"u"}',
    ]
    taking = Taking()
    for number, line in enumerate(lines):
        (tmp_path / f"{number}.ndjson").write_text(line)
        assert _counts(import_into(taking, [tmp_path / f"{number}.ndjson"])) == ((1, 0), (0, 1))[number]


def test_a_parquet_file_written_in_another_way_is_recognised(tmp_path: Path) -> None:
    """Other types for the same values, another order of columns, a new column that old rows lack."""
    noon = 1_772_366_400_000
    first = pa.table({
        "user_id": ["a", "b"], "event": ["Buy"] * 2, "time": pa.array([noon] * 2, pa.timestamp("ms", "UTC")),
        "n": pa.array([1, 2], pa.int32()), "t": ["x", None], "f": [0.5, None], "l": [["a", None], []],
    })  # fmt: skip
    second = pa.table({
        "f": pa.array([0.5, None], pa.float32()), "t": pa.array(["x", None]).dictionary_encode(),
        "l": pa.array([["a", None], []], pa.large_list(pa.string_view())), "n": [1.0, 2.0],
        "time": pa.array([noon * 1000] * 2, pa.timestamp("us")), "user_id": pa.array(["a", "b"], pa.large_string()),
        "event": pa.array(["Buy"] * 2), "new": pa.array([None, None], pa.struct([("x", pa.int64())])),
    })  # fmt: skip
    taking, path = Taking(), tmp_path / "a.parquet"
    for table, expected in ((first, (2, 0)), (second, (0, 2)), (second.slice(1), (0, 1))):
        pq.write_table(table, path)
        assert _counts(import_into(taking, [path])) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [(pa.array([1]), pa.array([2])), (pa.array([None], pa.int64()), pa.array([0])), (pa.array(["1"]), pa.array([1])),
     (pa.array([[1, 2]]), pa.array([[2, 1]])), (pa.array([[1], ]), pa.array([[1, 1]])),
     (pa.array([[None]], pa.list_(pa.int64())), pa.array([[]], pa.list_(pa.int64()))),
     (pa.array([{"x": 1, "y": 2}]), pa.array([{"x": 2, "y": 1}])), (pa.array([True]), pa.array([1])),
     (pa.array([[["a"], ["b"]]]), pa.array([[["a", "b"]]])), (pa.array([b"a"]), pa.array(["a"])),
     (pa.array([0.5]), pa.array([0.25])), (pa.array([1], pa.timestamp("us")), pa.array([2], pa.timestamp("us")))],
    ids=range(12),
)  # fmt: skip
def test_other_values_are_other_records(tmp_path: Path, one: pa.Array, other: pa.Array) -> None:
    ids = set()
    for number, column in enumerate((one, other)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"user_id": ["u"], "event": ["E"], "time": ["2026-03-01"], "p": column}), path)
        hashes = importing.row_hashes(pq.read_table(path).to_batches()[0], lambda name: name)
        ids.add(ContentIds().ids_of(hashes).tobytes())
    assert len(ids) == 2


def _id_of(column: pa.Array) -> bytes:
    hashes = importing.row_hashes(pa.record_batch({"p": column}), lambda name: name)
    return ContentIds().ids_of(hashes).tobytes()


@pytest.mark.parametrize("kind", [pa.decimal128(38, 4), pa.decimal256(60, 10)], ids=str)
@pytest.mark.parametrize("value", [12, 12.5, -0.01, 0, 1.1, 300, -7, 1e-4])
def test_a_number_is_the_same_as_a_decimal(kind: pa.DataType, value: float) -> None:
    """DuckDB writes as a decimal what data frames write as a float."""
    assert _id_of(pa.array([Decimal(repr(value))], kind)) == _id_of(pa.array([value]))
    assert _id_of(pa.array([Decimal(repr(value))], kind)) != _id_of(pa.array([value + 1]))


@pytest.mark.parametrize(
    ("one", "other"),
    [("1" + "0" * 30, "1" + "0" * 31), (str(10**20), str(10**20 + 1)), ("12345678901234567.8900",) * 2],
)
def test_decimals_that_no_number_holds_are_told_by_their_digits(one: str, other: str) -> None:
    kinds = (
        (pa.decimal128(38, 0), pa.decimal128(38, 0)) if "." not in one else (pa.decimal128(38, 4), pa.decimal128(38, 2))
    )
    ids = {_id_of(pa.array([Decimal(text)], kind)) for text, kind in zip((one, other), kinds, strict=True)}
    assert len(ids) == len({one, other})


@given(st.lists(st.lists(st.integers(0, 20), max_size=30), max_size=12))
@settings(max_examples=60)
def test_occurrences_are_counted_across_batches(batches: list[list[int]]) -> None:
    occurrences, before = Occurrences(), Counter[int]()
    for batch in batches:
        expected = list[int]()
        for value in batch:
            expected.append(before[value])
            before[value] += 1
        assert occurrences.number(np.array(batch, np.uint64)).tolist() == expected


def test_ids_do_not_change_from_version_to_version() -> None:
    """Else everything imported by an older one would be taken again."""
    ids = ContentIds("").ids_of(lanes_of([b"a", b"b", b"a"]))
    assert [bytes(each).decode() for each in ids] == IDS
    batch = pa.record_batch({
        "user_id": ["u", None], "n": [1, None], "f": [0.5, None], "t": pa.array([1, None], pa.timestamp("ms")),
        "o": [{"x": [1, None], "y": True}, None], "d": pa.array([20_000, None], pa.int32()).view(pa.date32()),
        "m": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
    })  # fmt: skip
    assert ContentIds("").ids_of(importing.row_hashes(batch, lambda name: name))[0].tobytes() == ROW_ID
    assert ContentIds("x").ids_of(lanes_of([b"a"])).tobytes() != ids[0].tobytes()
