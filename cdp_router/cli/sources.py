"""Files as streams of records: NDJSON, CSV and Parquet. What is no record comes out as a rejection with its line."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cdp_router.cli.mapping import EXPORTED, WrittenRecord
from cdp_router.client.formulas import restored

_ROWS_PER_READ: Final = 16_384
_ROWS_PER_COLUMN_READ: Final = 50_000  # below what a batch of columns may have of different event names
_CSV_FIELD_CHARACTERS_MAX: Final = 1 << 23  # JSON of a record as large as one may be
_NUMBER_STARTS: Final = "-0123456789"
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,30}")
_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class SourceInvalid(Exception):
    """The file cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Found:
    """One line or row: its record, or why there is none; `done` is how far the file was read, of its `size`."""

    line: int
    record: dict[str, Any] | None
    problem: str
    done: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read once."""

    path: Path
    unit: str  # what a position counts: line or row
    size: int
    read: Callable[[], Iterator[Found]]
    columns: Columns | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """A file that can be read in columns too: batches of this schema, in the order of the rows."""

    schema: pa.Schema
    read: Callable[[], Iterator[pa.RecordBatch]]


def open_source(path: Path, file_format: str | None) -> Source:
    """The source of a file; the format is told by its name unless given."""
    if not path.is_file():
        raise SourceInvalid(f"{path}: there is no such file")
    kind = file_format or _FORMATS_BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise SourceInvalid(f"{path}: cannot tell the format from the name; give --format ndjson, csv or parquet")
    if kind == "parquet":
        return _parquet(path)
    reader = _read_csv if kind == "csv" else _read_ndjson
    return Source(path, "line", path.stat().st_size, lambda: reader(path))


_FORMATS_BY_SUFFIX: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def _read_ndjson(path: Path) -> Iterator[Found]:
    decode, done = msgspec.json.Decoder().decode, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            done += len(line)
            if not line.strip():
                continue
            try:
                record = decode(line.removeprefix(codecs.BOM_UTF8))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield Found(number, None, f"no JSON: {error}", done)
                continue
            if isinstance(record, dict):
                yield Found(number, record, "", done)
            else:
                yield Found(number, None, "no JSON object", done)


def _read_csv(path: Path) -> Iterator[Found]:
    csv.field_size_limit(_CSV_FIELD_CHARACTERS_MAX)
    # Undecodable bytes stay visible in the value instead of ending the whole file.
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        try:
            header = next(rows, None)
        except csv.Error as error:
            raise SourceInvalid(f"{path}: no CSV: {error}") from error
        if header is None:
            raise SourceInvalid(f"{path}: the file is empty; a CSV file starts with a line of column names")
        if len(set(header)) != len(header):
            raise SourceInvalid(f"{path}: two columns have one name")
        done, is_ours = 0, EXPORTED in header
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Found(rows.line_num, None, f"no CSV: {error}", done)
                continue
            done += sum(map(len, row)) + len(row) + 1
            if is_ours:
                row = [restored(text) for text in row]
            if len(row) == len(header):
                written = dict(zip(header, row, strict=True))
                record = WrittenRecord({name: _csv_value(text) for name, text in written.items()}, written)
                yield Found(rows.line_num, record, "", done)
            elif row:
                problem = f"{len(row)} fields where the header has {len(header)}"
                yield Found(rows.line_num, None, problem, done)


def _csv_value(text: str) -> Any:
    """Numbers and booleans by how they are written; 007 and 1_000 stay text, an empty field is no value."""
    if not text:
        return None
    if text[0] not in _NUMBER_STARTS and text not in ("true", "false"):
        return text
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _parquet(path: Path) -> Source:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceInvalid(f"{path}: no Parquet file: {error}") from error
    columns = Columns(_plain_schema(file.schema_arrow), lambda: _read_columns(path, file, _ROWS_PER_COLUMN_READ))
    return Source(path, "row", file.metadata.num_rows, lambda: _read_parquet(path, file), columns)


def _read_columns(path: Path, file: pq.ParquetFile, rows: int) -> Iterator[pa.RecordBatch]:
    number = 0
    try:
        for batch in file.iter_batches(rows):
            plain = _plain(batch)
            plain.validate(full=True)
            yield plain
            number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise SourceInvalid(f"{path}: damaged after row {number}: {error}") from error


def _read_parquet(path: Path, file: pq.ParquetFile) -> Iterator[Found]:
    number = 0
    for batch in _read_columns(path, file, _ROWS_PER_READ):
        yield from found_rows(batch, number)
        number += len(batch)


def found_rows(batch: pa.RecordBatch, before: int) -> Iterator[Found]:
    """The rows of a batch that follows `before` other rows."""
    for number, record in enumerate(batch.to_pylist(), before + 1):
        yield Found(number, record, "", number)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    schema = _plain_schema(batch.schema)
    columns = [column.cast(field.type, safe=False) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.record_batch(columns, schema=schema)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with instants in UTC instead of dates and local times, and floats instead of decimals."""
    fields = list[pa.Field]()
    for field in schema:
        kind = field.type
        if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
            unit = kind.unit if pa.types.is_timestamp(kind) else "ms"
            fields.append(field.with_type(pa.timestamp("us" if unit == "ns" else unit, "UTC")))
        elif pa.types.is_timestamp(kind) and kind.unit == "ns":
            fields.append(field.with_type(pa.timestamp("us", kind.tz)))
        else:
            fields.append(field.with_type(pa.float64()) if pa.types.is_decimal(kind) else field)
    return pa.schema(fields)
