"""Files as streams of records; what is no record comes out with its line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdp_router.cli.data.sources import Found, SourceInvalid, open_source
from cdp_store.values import to_ms

Write = Callable[[str, bytes | str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def _read(path: Path, file_format: str | None = None) -> list[Found]:
    return list(open_source(path, file_format).read())


def _records(path: Path, file_format: str | None = None) -> list[Any]:
    return [found.record for found in _read(path, file_format)]


def _parquet(folder: Path, table: pa.Table, **options: Any) -> Path:
    path = folder / "f.parquet"
    pq.write_table(table, path, **options)
    return path


# --------------------------------------------------------------------------------------------------------------- NDJSON


def test_every_line_of_ndjson_is_a_record(write: Write) -> None:
    path = write("a.ndjson", '{"a": 1, "b": "ü"}\n\n  \n{"a": [1, {"c": null}]}\r\n{"a": 2}')
    assert [(found.line, found.record) for found in _read(path)] == [
        (1, {"a": 1, "b": "ü"}), (4, {"a": [1, {"c": None}]}), (5, {"a": 2}),
    ]  # fmt: skip
    assert _read(path)[-1].done == path.stat().st_size == open_source(path, None).size


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"a": }',
        b"[1]",
        b"5",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"[" * 50_000,
        b'{"a": 1e999}',
        b'{"a": NaN}',
    ],
)
def test_a_malformed_line_is_found_with_its_number_and_the_others_are_read(write: Write, line: bytes) -> None:
    found = _read(write("a.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 2}\n'))
    assert [item.record for item in found] == [{"a": 1}, None, {"a": 2}]
    assert found[1].line == 2
    assert found[1].problem.startswith(("not JSON", "not a JSON object"))
    assert len(found[1].problem) < 300


def test_large_integers_keep_every_digit(write: Write) -> None:
    assert _records(write("a.ndjson", f'{{"a": {(1 << 63) - 1}, "b": {-(1 << 63)}}}')) == [
        {"a": (1 << 63) - 1, "b": -(1 << 63)}
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line(write: Write) -> None:
    assert _records(write("a.ndjson", b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')) == [{"a": 1}, {"a": 2}]


# ------------------------------------------------------------------------------------------------------------------ CSV


def test_csv_values_are_told_by_how_they_are_written(write: Write) -> None:
    path = write("a.csv", "a,b,c,d,e,f,g\n1,-2,1.5,true,,text,-0.25\n" + "10,0,1e3,false,x,False,+5\n")
    assert _records(path) == [
        {"a": 1, "b": -2, "c": 1.5, "d": True, "e": None, "f": "text", "g": -0.25},
        {"a": 10, "b": 0, "c": 1000.0, "d": False, "e": "x", "f": False, "g": "+5"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "007",
        "00",
        "-01",
        "1_000",
        "1e5x",
        "0x10",
        "nan",
        "inf",
        "-",
        " 5",
        "5 ",
        "1,5",
        "²",
        "１２",
        "1.2.3",
        "2026-01-01",
        "1-2",
    ],
)
def test_what_is_not_written_as_a_number_stays_text(write: Write, text: str) -> None:
    assert _records(write("a.csv", f'a,b\n"{text}",1\n')) == [{"a": text, "b": 1}]


def test_an_integer_of_any_length_is_read_exactly(write: Write) -> None:
    assert _records(write("a.csv", f"a,b\n{(1 << 63) - 1},{-(1 << 63)}\n")) == [{"a": (1 << 63) - 1, "b": -(1 << 63)}]


def test_quoted_fields_may_hold_commas_quotes_and_line_ends(write: Write) -> None:
    found = _read(write("a.csv", 'a,b\n"x, ""y""","1\n2"\nz,3\n'))
    assert [item.record for item in found] == [{"a": 'x, "y"', "b": "1\n2"}, {"a": "z", "b": 3}]
    assert [item.line for item in found] == [3, 4]


def test_a_row_with_too_few_or_too_many_fields_is_found_with_its_line(write: Write) -> None:
    found = _read(write("a.csv", "a,b\n1,2\n1\n1,2,3\n\n3,4\n"))
    assert [(item.line, item.record) for item in found] == [
        (2, {"a": 1, "b": 2}), (3, None), (4, None), (6, {"a": 3, "b": 4}),
    ]  # fmt: skip
    assert found[1].problem == "1 fields where the header has 2"
    assert found[2].problem == "3 fields where the header has 2"


def test_a_field_that_never_ends_is_found_and_not_read_without_end(write: Write) -> None:
    found = _read(write("a.csv", "a,b\n" + "x" * (9 << 20) + ",1\n2,3\n"))
    assert found[0].record is None
    assert "CSV" in found[0].problem
    assert found[-1].record == {"a": 2, "b": 3}


def test_a_byte_order_mark_and_bytes_that_are_no_text_do_not_end_the_file(write: Write) -> None:
    found = _read(write("a.csv", b"\xef\xbb\xbfa,b\n1,\xff\n3,4\n"))
    assert [item.record for item in found] == [None, {"a": 3, "b": 4}]
    assert (found[0].line, found[0].code) == (2, "TEXT_INVALID")
    assert "'b'" in found[0].problem and "0xff" in found[0].problem


@pytest.mark.parametrize(
    ("content", "message"), [("", "empty"), ("a,a\n1,2\n", "one name"), ("x" * (9 << 20) + ",b\n1,2\n", "CSV")]
)
def test_a_csv_file_without_a_usable_header_cannot_be_read(write: Write, content: str, message: str) -> None:
    path = write("a.csv", content)
    with pytest.raises(SourceInvalid, match=message) as caught:
        _read(path)
    assert str(path) in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- Parquet


def test_rows_of_parquet_are_records_with_their_number(tmp_path: Path) -> None:
    table = pa.table({"a": range(40_000), "b": [None, "x"] * 20_000})
    found = _read(_parquet(tmp_path, table, row_group_size=9_000))
    assert [item.line for item in found] == list(range(1, 40_001))
    assert found[39_999].record == {"a": 39_999, "b": "x"}
    assert found[-1].done == open_source(tmp_path / "f.parquet", None).size == 40_000


def test_parquet_values_keep_their_types(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = pa.table({
        "t": pa.array([noon], pa.timestamp("us", "UTC")), "l": [["a"]], "m": [{"x": 1}], "f": [1.5], "n": pa.nulls(1),
        "d": pa.array(["x"]).dictionary_encode(),
    })  # fmt: skip
    [record] = _records(_parquet(tmp_path, table))
    assert record == {"t": noon, "l": ["a"], "m": {"x": 1}, "f": 1.5, "n": None, "d": "x"}


def test_nanoseconds_do_not_end_the_reading(tmp_path: Path) -> None:
    table = pa.table({"t": pa.array([1_767_268_800_123_456_789], pa.timestamp("ns", "UTC"))})
    [record] = _records(_parquet(tmp_path, table))
    assert to_ms(record["t"]) == 1_767_268_800_123


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 100])
def test_a_file_that_is_no_parquet_cannot_be_read(write: Write, content: bytes) -> None:
    path = write("f.parquet", content)
    with pytest.raises(SourceInvalid, match="Parquet") as caught:
        _read(path)
    assert str(path) in str(caught.value)


def test_damage_inside_a_parquet_file_is_said_and_not_thrown(tmp_path: Path) -> None:
    path = _parquet(tmp_path, pa.table({"a": [f"text {n}" for n in range(50_000)]}), compression="snappy")
    data = bytearray(path.read_bytes())
    data[1000:60_000] = b"\xff" * 59_000
    path.write_bytes(data)
    with pytest.raises(SourceInvalid, match=r"f\.parquet"):
        _read(path)


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("name", ["a.ndjson", "a.JSONL", "a.json"])
def test_the_format_is_told_by_the_name(write: Write, name: str) -> None:
    assert _records(write(name, '{"a": 1}')) == [{"a": 1}]


def test_a_format_that_is_given_goes_before_the_name(write: Write) -> None:
    assert _records(write("a.txt", '{"a": 1}'), "ndjson") == [{"a": 1}]
    assert _records(write("a.ndjson", "a\n1\n"), "csv") == [{"a": 1}]


def test_a_name_that_tells_nothing_asks_for_the_format(write: Write) -> None:
    with pytest.raises(SourceInvalid, match="--format"):
        open_source(write("a.txt", ""), None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match=r"nowhere\.csv"):
        open_source(tmp_path / "nowhere.csv", None)
    with pytest.raises(SourceInvalid):
        open_source(tmp_path, "csv")
