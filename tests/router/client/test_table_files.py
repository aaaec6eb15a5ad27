"""Lists of members as files: what each format holds, and that a file is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from cdp.v1 import query_pb2
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.client import table_files
from cdp_router.client.formulas import defused, defused_schema, restored
from cdp_router.client.results import MemberBatches, MembersIncomplete
from cdp_router.client.table_files import FileFormat, TableFile, whole_file

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
ROWS = [
    {"id": "ü,1", "n": 1, "price": 1.5, "flag": True, "at": AT, "text": 'say "x"\nand y'},
    {"id": "2", "n": None, "price": None, "flag": None, "at": None, "text": None},
    {"id": "3", "n": (1 << 62) + 1, "price": 0.1, "flag": False, "at": AT, "text": "007"},
]
SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("n", pa.int64()),
        ("price", pa.float64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("ms", "UTC")),
        ("text", pa.large_string()),
    ]
)


def responses(batches: Sequence[pa.RecordBatch], *, is_whole: bool = True) -> Iterator[query_pb2.MembersResponse]:
    """A list of members as routers send it: the schema first, then batches, the coverage last."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for each in batches:
            writer.write_batch(each)
    yield query_pb2.MembersResponse(arrow=sink.getvalue().to_pybytes())
    if is_whole:
        yield query_pb2.MembersResponse(coverage=query_pb2.Coverage(total=4))


def batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(ROWS, SCHEMA)


@pytest.mark.parametrize("file_format", list(FileFormat))
def test_a_file_holds_what_came(file_format: FileFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "_GROUP_ROWS", 4)  # of six rows some wait for the end
    batches = MemberBatches(responses([batch(), batch()]))
    path = tmp_path / "out"
    with whole_file(path) as part, TableFile(part, file_format, batches.schema) as file:
        for each in batches:
            file.write(each)
    assert (file.rows, batches.coverage.total) == (6, 4)
    match file_format:
        case FileFormat.PARQUET:
            found = pq.read_table(path)
            assert found.schema.remove_metadata() == SCHEMA
            assert found.to_pylist() == ROWS * 2
        case FileFormat.CSV:
            options = pa.csv.ConvertOptions(
                column_types=SCHEMA, strings_can_be_null=True, quoted_strings_can_be_null=False
            )
            parsing = pa.csv.ParseOptions(newlines_in_values=True)
            assert pa.csv.read_csv(path, parse_options=parsing, convert_options=options).to_pylist() == ROWS * 2
        case FileFormat.NDJSON:
            lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
            given = [{key: value for key, value in row.items() if value is not None} for row in ROWS]
            assert lines == [row | ({"at": "2026-01-02T03:04:05.678000Z"} if "at" in row else {}) for row in given] * 2


@pytest.mark.parametrize("file_format", list(FileFormat))
def test_a_list_that_breaks_off_leaves_no_file(file_format: FileFormat, tmp_path: Path) -> None:
    batches = MemberBatches(responses([batch()], is_whole=False))
    path = tmp_path / "out"
    with pytest.raises(MembersIncomplete), whole_file(path) as part, TableFile(part, file_format, SCHEMA) as file:
        for each in batches:
            file.write(each)
    assert list(tmp_path.iterdir()) == []


def test_nothing_at_all_is_no_list() -> None:
    with pytest.raises(MembersIncomplete):
        MemberBatches(iter(()))


TEXTS = st.text(st.sampled_from("='+-@\t\r\n＝＋ 1e.5x,\"") | st.characters(exclude_categories=["Cs"]), max_size=6)


@given(st.lists(TEXTS | st.none(), max_size=8))
def test_no_text_in_csv_is_a_formula_and_every_one_comes_back(texts: list[str | None]) -> None:
    for kind in (pa.string(), pa.large_string()):
        plain = pa.record_batch([pa.array(texts, kind), pa.array(range(len(texts)), pa.int64())], names=["=a", "b"])
        written = defused(plain)
        cells = written.column(0).to_pylist()
        assert written.schema.names == ["'=a", "b"] and written.schema == defused_schema(plain.schema)
        for text, cell in zip(texts, cells, strict=True):
            assert cell == text or cell == f"'{text}"
            assert (None if cell is None else restored(cell)) == text
            if cell and cell[0] in "=+-@\t\r\n＝＋－＠":
                float(cell)


def test_texts_stay_as_they_are_where_that_is_asked_for(tmp_path: Path) -> None:
    batch = pa.record_batch([pa.array(["=1+1", "x"])], names=["@id"])
    for raw, found in ((True, '"@id"\n"=1+1"\n"x"\n'), (False, '"\'@id"\n"\'=1+1"\n"x"\n')):
        with TableFile(tmp_path / str(raw), FileFormat.CSV, batch.schema, raw=raw) as file:
            file.write(batch)
        assert (tmp_path / str(raw)).read_text() == found
