"""CSV in blocks of columns: what is stored is what the csv module and rules of our own say, row by row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cli.data import importing
from cdp_router.cli.data.sources import open_source
from cdp_router.importing import csv_files, texts
from cdp_router.importing.read_options import Reading
from tests.router.imported_files import Record, Taking, import_into, imported

Write = Callable[[str], Path]
_INT64_MAX = (1 << 63) - 1
_HEADER = "user_id,event,time,a,b\n"
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(content: str) -> Path:
        path = tmp_path / "f.csv"
        path.write_bytes(content.encode())
        return path

    return writer


@pytest.fixture(params=[1, 40, 1 << 21])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Characters of a block: a row at a time, a few, all."""
    monkeypatch.setattr(csv_files, "_BLOCK_CHARACTERS", request.param)
    return int(request.param)


# ------------------------------------------------------------------------------------------------------------ reference


def _value(text: str) -> Any:
    """What a field means; Decimal: a number that no integer of 64 bits and no float keeps."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if re.fullmatch(r"0|-?[1-9][0-9]*", text):
        return int(text) if -_INT64_MAX - 1 <= int(text) <= _INT64_MAX else Decimal(text)
    if not re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return text
    digits = "".join(map(str, Decimal(text).as_tuple().digits)).strip("0")
    if float(text) in (float("inf"), float("-inf")):
        return text
    whole = abs(Decimal(text)) <= _INT64_MAX and Decimal(text) == int(Decimal(text))
    is_exact = Decimal(float(text)) == Decimal(text) or Decimal(repr(float(text))) == Decimal(text)
    if is_exact or len(digits) <= 15 or (len(digits) <= 17 and abs(float(text)) < 1 << 53):
        return float(text)
    if whole:
        return int(Decimal(text))
    return text if "e" in text.lower() else Decimal(text)


def _time(text: str) -> datetime | None:
    if re.fullmatch("[0-9]+", text):
        return datetime.fromtimestamp(int(text), UTC) if 10**9 < int(text) < 4 * 10**9 else None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _by_rows(path: Path) -> tuple[list[Record], list[int]]:
    """Records, and the lines of those that are none, of a file that the csv module reads without a fault."""
    records, rejected = list[Record](), list[int]()
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        names = next(rows)
        for row in rows:
            if len(row) != len(names):
                rejected += [rows.line_num] if row else []
                continue
            fields = dict(zip(names, row, strict=True))
            user, event, at = fields.pop("user_id"), fields.pop("event"), _time(fields.pop("time"))
            values = {name: _value(text) for name, text in fields.items() if text}
            if not event or at is None or any(isinstance(value, Decimal) for value in values.values()):
                rejected.append(rows.line_num)
            elif user:
                ms = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
                records.append(Record(user, event, int(ms), values))
    return records, rejected


_CELLS = st.sampled_from((
    "", "0", "-1", "007", "1.50", "-0.0", "-0", "12e2", "1e400", str(_INT64_MAX), str(_INT64_MAX + 1),
    str(-_INT64_MAX - 1), str(-_INT64_MAX - 2), "0.30000000000000004", "12345678901234567.8", "9007199254740993.0",
    "0.1234567890123456789",
    "true", "FALSE", "tRUE", "größe", "a,b", 'say "x"', "two\nlines", "more\r\n\r\nlines", "a\rb", " 5", "1_000", "\0",
    "2026-03-01", "１２", ".5", "1.", "x" * 300, "=1",
)) | st.floats(allow_nan=False, allow_infinity=False).map(str) | st.integers().map(str) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=5
)  # fmt: skip
_TIMES = st.sampled_from((
    "2026-03-01T10:00:00Z", "2026-03-01", "2026-03-01 10:00:00.125", "2026-03-01T10:00:00.123456+00:00",
    "2026-03-01T10:00:00+05:30", "2026-02-30T10:00:00Z", "0000-01-01T00:00:00Z", "1772323200", "5", "", "soon",
))  # fmt: skip
_ROWS = st.lists(
    st.tuples(
        st.sampled_from(("ann", "bob", "007", "")), st.sampled_from(("Buy", "Sign Up", "")), _TIMES, _CELLS, _CELLS
    )
    | st.lists(_CELLS, min_size=1, max_size=7).filter(lambda row: len(row) != 5)
    | st.just(()),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(rows=_ROWS, size=st.sampled_from((1, 60, 1 << 21)), end=st.sampled_from(("\n", "\r\n")))
def test_random_tables_are_stored_as_the_csv_module_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], size: int, end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(_HEADER.replace("\n", end))
        csv.writer(file, lineterminator=end).writerows(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_BLOCK_CHARACTERS", size)
        records, outcome = imported(path, reading=Reading())  # no text is a time, so that lines in quotes are none
        found = [each for each in open_source(path, None, Reading()).read() if "each of these lines" in each.problem]
    expected, rejected = _by_rows(path)
    if not found:
        assert repr(records) == repr(expected)
        lines = [int(line) for line in re.findall(r"random\.csv line ([0-9]+): (?!a record needs)", outcome.said)]
        assert set(lines) <= set(rejected)
        lost = {"IDENTIFIER_MISSING", "MORE"}
        assert sum(count for code, count in outcome.codes.items() if code not in lost) == len(rejected)


@settings(max_examples=100, deadline=None)
@given(rows=_ROWS.map(lambda rows: [row for row in rows if len(row) == 5 and row[0]]))
def test_columns_of_texts_are_the_rows_that_records_are_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    """The same bytes: batches that were sent by earlier versions are recognised, ids and all."""
    path = tmp_path_factory.getbasetemp() / "same.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_HEADER.strip().split(","), *rows])
    sent, said = [], []
    for mappable in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not mappable:
                patch.setattr(importing, "text_rows", lambda columns, mapping: None)
            batches = list[bytes]()

            class Client(Taking):
                def ingest(self, batch: Any, kept: list[bytes] = batches) -> Any:
                    kept.append(batch.SerializeToString(deterministic=True))
                    return super().ingest(batch)

            said.append(import_into(Client(), [path]))
            sent.append(batches)
    assert sent[0] == sent[1]
    assert said[0] == said[1]


def test_most_files_go_by_columns(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a row was taken by itself")

    monkeypatch.setattr(importing, "to_row", refuse)
    rows = "".join(f"u{n},Buy,2026-03-01T10:00:{n % 60:02}Z,{n}.5,t\n" for n in range(2000))
    records, outcome = imported(write(_HEADER + rows))
    assert (len(records), outcome.codes) == (2000, {})
    assert records[7] == Record("u7", "Buy", 1_772_359_207_000, {"a": 7.5, "b": "t"})


def test_records_of_csv_are_known_in_other_formats_of_the_same_content(tmp_path: Path) -> None:
    rows = [
        {"user_id": f"u{n}", "event": "Buy", "time": f"2026-03-01T10:00:0{n}Z", "z": n, "b": n / 4} for n in range(9)
    ]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [",".join(map(str, row.values())) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join([",".join(rows[0]), *lines]))
    taking = Taking()
    assert import_into(taking, [tmp_path / "a.ndjson"]).accepted == 9
    assert import_into(taking, [tmp_path / "a.csv"]).duplicates == 9


# --------------------------------------------------------------------------------------------------------------- blocks


def test_lines_are_counted_across_blocks_quotes_and_faults(write: Write, block: int) -> None:
    row = "u,Buy,2026-03-01T10:00:00Z,1,2\n"
    content = (
        f'{_HEADER}{row}\nu,Buy,2026-03-01T10:00:00Z,"a\nb",2\nu,Buy\n{row}'  # lines 2 to 7
        f'u,Buy,never,1,2\n{row}u,Buy,2026-03-01T10:00:00Z,x" y,2\n'
        f'u,"Buy,2026-03-01T10:00:00Z,1,2\n{row}{row}u,Buy,2026-03-01T10:00:00Z,1,2,3\n'
    )
    path = write(content)
    found = list(open_source(path, None).read())
    faults = [each.line for each in found if each.record is None]
    assert ([each.line for each in found], faults) == ([2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [6, 11, 14])
    assert found[-1].done == path.stat().st_size
    records, outcome = imported(path)
    assert (len(records), outcome.codes) == (7, {"RECORD_MALFORMED": 4})
    assert [line.split(": ")[0] for line in outcome.said.splitlines()] == [f"f.csv line {n}" for n in (6, 8, 11)]


@pytest.mark.parametrize(
    "content", [_HEADER, _HEADER.strip(), _HEADER + "\n\n", "\ufeff" + _HEADER, "\ufeff" + _HEADER + "\r\n"]
)
def test_a_file_of_names_alone_holds_no_records(write: Write, content: str, block: int) -> None:
    assert imported(write(content))[1].codes == {}
    assert list(open_source(write(content), None).read()) == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(write: Write, end: str, block: int) -> None:
    content = f"{_HEADER}u,Buy,2026-03-01T10:00:00Z,1,x\n\nv,Buy,2026-03-01T10:00:00Z,2,y\nw,Buy\n".replace("\n", end)
    records, outcome = imported(write(content))
    assert [(each.user, each.values) for each in records] == [("u", {"a": 1, "b": "x"}), ("v", {"a": 2, "b": "y"})]
    assert "f.csv line 5: 2 fields where the header has 5" in outcome.said


def test_a_careful_block_is_followed_by_plain_ones(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_CHARACTERS", 200)
    rows = [f"u{n},Buy,2026-03-01T10:00:00Z,{n},x\n" for n in range(400)]
    rows[100] = rows[110] = 'u,Buy,2026-03-01T10:00:00Z,5" pipe,x\n'
    careful = list[int]()
    read = csv_files._Blocks._careful

    def count(self: Any, text: str, texts: Any) -> Any:
        careful.append(len(text))
        return read(self, text, texts)

    monkeypatch.setattr(csv_files._Blocks, "_careful", count)
    records, outcome = imported(write(_HEADER + "".join(rows)))
    assert (len(records), outcome.codes) == (400, {})
    assert records[100].values == records[110].values == {"a": '5" pipe', "b": "x"}
    assert 0 < sum(careful) < 1000


def test_a_mark_at_the_begin_of_a_row_is_text(write: Write, block: int) -> None:
    """Files joined with their byte order marks; no border between blocks takes one away."""
    row = "u{},Buy,2026-03-01T10:00:00Z,1,x\n"
    records, _ = imported(write(_HEADER + "".join(f"\ufeff{row.format(n)}" for n in range(9))))
    assert [each.user for each in records] == [f"\ufeffu{n}" for n in range(9)]


def test_half_a_character_costs_its_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(f"{_HEADER}u,Buy,2026-03-01T10:00:00Z,1,x+2AA-\nv,Buy,2026-03-01T10:00:00Z,1,x\n".encode())
    records, outcome = imported(path, reading=Reading(encoding="utf-7"))
    assert ([each.user for each in records], outcome.codes) == (["v"], {"TEXT_INVALID": 1})
    assert "f.csv line 2: column 'b' holds bytes that are not utf-7 (U+D800)" in outcome.said


def test_a_file_is_read_a_block_at_a_time(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_CHARACTERS", 1000)
    path = write(_HEADER + "u,Buy,2026-03-01T10:00:00Z,1,x\n" * 20_000)
    source = open_source(path, None)
    assert source.table is not None
    first, second = islice(source.table.read(), 2)
    assert len(first.lines) + len(second.lines) < 100
    assert 0 < first.done <= second.done < path.stat().st_size / 10


@pytest.mark.parametrize("size", [10_000, 3_000_000])
def test_a_long_cell_is_read_whole_or_refused_with_its_line(write: Write, size: int) -> None:
    content = f'{_HEADER}u,Buy,2026-03-01T10:00:00Z,1,"{"x" * size}\n"\nv,Buy,2026-03-01T10:00:00Z,1,x\n'
    records, outcome = imported(write(content))
    assert [each.user for each in records][-1] == "v"
    assert len(records) + sum(outcome.codes.values()) == 2
    if outcome.codes:
        assert "f.csv line 3: " in outcome.said


def test_a_line_longer_than_any_record_costs_itself_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (texts, csv_files):
        monkeypatch.setattr(module, "LINE_CHARACTERS_MAX", 100)
    monkeypatch.setattr(csv_files, "_BLOCK_CHARACTERS", 50)
    row = "u,Buy,2026-03-01T10:00:00Z,1,x\n"
    records, outcome = imported(write(f"{_HEADER}{row}u,Buy,2026-03-01T10:00:00Z,1,{'y' * 250}\n{row}{row}"))
    assert (len(records), outcome.codes) == (3, {"RECORD_MALFORMED": 1})
    assert "f.csv line 3: not CSV: the line has more than" in outcome.said


@pytest.mark.parametrize(
    ("fields", "strict"),
    [('a,"b",c', True), ('"a""b",c,""', True), ('"a\nb","c"', True), ('a"b,c', False), ('"a"b,c', False), ('"a', False),
     ('""a,b', False), (' "a",b', False), ('"a","b"', True), ('"""a"""', True), ('"a" ,b', False), ('a,"', False)],
)  # fmt: skip
def test_arrow_reads_a_block_only_where_all_quotes_stand_at_the_ends_of_fields(fields: str, strict: bool) -> None:
    for content in (fields, f"{fields}\n", f"{fields}\r\nx,y\r\n", f"x,y\n{fields}\n"):
        layout = csv_files._layout(np.frombuffer(content.encode(), np.uint8), ord(","))
        assert (layout is not None) == strict
