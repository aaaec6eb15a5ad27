"""Files as streams of records: NDJSON, CSV and Parquet. Anything else becomes a rejection with its line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from cdp_router.cli.data.column_paths import ColumnPaths, paths_of_names, paths_of_records, paths_of_schema
from cdp_router.cli.data.row_mapping import EXPORTED, ColumnMapping, WrittenRecord
from cdp_router.client.formulas import restored
from cdp_router.contract.arrow_streams import VALUES
from cdp_router.importing.csv_files import CsvBlock, CsvFault, read_blocks, read_header
from cdp_router.importing.ndjson_files import MALFORMED, TEXT_INVALID, read_lines
from cdp_router.importing.numbers import csv_value
from cdp_router.importing.parquet_files import ParquetTable, open_parquet
from cdp_router.importing.read_options import Reading
from cdp_router.importing.source_errors import SourceInvalid
from cdp_router.importing.texts import Encoding, encoding_of

__all__ = [
    "Columns",
    "CsvColumns",
    "CsvTable",
    "Found",
    "Source",
    "SourceInvalid",
    "fault_found",
    "found_rows",
    "open_source",
]
_ROWS_PER_READ: Final = 16_384
_ROWS_PER_COLUMN_READ: Final = 50_000  # below the limit of different event names in a batch of columns
_SAMPLE: Final = 1000  # records whose names are read before a file of NDJSON is
_USUAL: Final = Reading()
_NO_PATHS: Final = ColumnPaths()
_INDEX: Final = ("", "Unnamed: 0")  # names of the row numbers of a data frame, the latter after a second conversion


@dataclass(frozen=True, slots=True)
class Found:
    """One line or row: its record, or its problem; `done` is how far the file was read, of its `size`."""

    line: int
    record: dict[str, Any] | None
    problem: str
    done: int
    code: str = MALFORMED


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read once: its names (for NDJSON those at its beginning), and the assumptions made."""

    path: Path
    unit: str  # unit of a position: line or row
    size: int
    read: Callable[[], Iterator[Found]]
    columns: Columns | None = None
    names: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    table: CsvTable | None = None
    paths: ColumnPaths = _NO_PATHS


@dataclass(frozen=True, slots=True)
class Columns:
    """A file that can also be read in columns: batches of this schema, in the order of the rows."""

    schema: pa.Schema
    read: Callable[[], Iterator[pa.RecordBatch]]
    table: ParquetTable


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A file that can also be read in columns of texts."""

    columns: CsvColumns
    read: Callable[[], Iterator[CsvBlock]]


def open_source(
    path: Path, file_format: str | None, reading: Reading = _USUAL, mapping: ColumnMapping | None = None
) -> Source:
    """The source of a file; unless given, the format follows from its name."""
    if path.is_dir():
        raise SourceInvalid(f"{path}: is a folder; give {path}/*")
    if not path.is_file():
        raise SourceInvalid(f"{path}: there is no such file")
    kind = file_format or _FORMATS_BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise SourceInvalid(f"{path}: cannot tell the format from the name; give --format ndjson, csv or parquet")
    try:
        if kind == "parquet":
            return _parquet(path, reading)
        encoding = encoding_of(path, reading.encoding)
        if kind == "csv":
            return _csv(path, encoding, reading, mapping or ColumnMapping())
        return _ndjson(path, encoding, reading)
    except OSError as error:
        raise SourceInvalid(f"{path}: {error.strerror or error}") from error


_FORMATS_BY_SUFFIX: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def _maps(reading: Reading) -> frozenset[str]:
    return reading.nested | {VALUES}


def _read_as(encoding: Encoding) -> tuple[str, ...]:
    return (f"it is read as {encoding.name}, which its first bytes say",) if encoding.assumed else ()


# --------------------------------------------------------------------------------------------------------------- NDJSON


def _ndjson(path: Path, encoding: Encoding, reading: Reading) -> Source:
    def read() -> Iterator[Found]:
        for line in read_lines(path, encoding.name, reading):
            yield Found(line.number, line.record, line.problem, line.done, line.code)

    lines = read_lines(path, encoding.name, replace(reading, skip=frozenset()))
    paths = paths_of_records((line.record or {} for line in lines), _maps(reading), _SAMPLE)
    names = tuple(name for name in paths.names if name not in reading.skip)
    return Source(path, "line", path.stat().st_size, read, names=names, assumed=_read_as(encoding), paths=paths)


# ------------------------------------------------------------------------------------------------------------------ CSV


def _csv(path: Path, encoding: Encoding, reading: Reading, mapping: ColumnMapping) -> Source:
    header = read_header(path, encoding.name, reading.delimiter)
    if header.names[0] in _INDEX:
        reading = replace(reading, skip=reading.skip | {header.names[0]})
    named = tuple(name for name in header.names if name and name not in reading.skip)
    assumed = list(_read_as(encoding))
    if header.assumed:
        assumed.append(f"its columns are separated by {header.delimiter!r}, as its first line has it")
    if header.names[0] in _INDEX:
        name = f"is {header.names[0]!r}" if header.names[0] else "has no name"
        assumed.append(f"its first column {name}; it looks like the index of a data frame, and is left out")
    time = mapping.column("time", dict.fromkeys(named))
    place = None if time is None else header.names.index(time)
    trusted = EXPORTED in named  # quotes that an export wrote are no mistake, whatever they contain
    columns = CsvColumns(header.names, reading, trusted)

    def blocks() -> Iterator[CsvBlock]:
        return read_blocks(path, encoding.name, header, place, reading.is_time, trusted)

    def read() -> Iterator[Found]:
        return chain.from_iterable(map(columns.found, blocks()))

    paths = paths_of_names(filter(None, header.names), _maps(reading))
    table = CsvTable(columns, blocks)
    return Source(path, "line", path.stat().st_size, read, None, named, tuple(assumed), table, paths)


class CsvColumns:
    """The columns of a CSV file: from fields to records; in an exported file, defused texts are restored."""

    def __init__(self, names: Sequence[str], reading: Reading, is_ours: bool) -> None:
        self.is_ours, self.reading = is_ours, reading
        kept = [(place, name) for place, name in enumerate(names) if name and name not in reading.skip]
        self.kept = [(place, name, name in reading.as_text) for place, name in kept]
        self.nameless = [place for place, name in enumerate(names) if not name and place]

    def found(self, block: CsvBlock) -> Iterator[Found]:
        """The rows and faults of a block by their lines."""
        faults = deque(block.faults)
        fields = zip(*(column.to_pylist() for column in block.columns), strict=True)
        for line, row in zip(block.lines.tolist(), fields, strict=True):
            while faults and faults[0].line < line:
                yield fault_found(faults.popleft(), block.done)
            yield self.row(line, row, block.done)
        yield from (fault_found(fault, block.done) for fault in faults)

    def row(self, line: int, fields: Sequence[str], done: int) -> Found:
        """The record of a row, or its problem."""
        if self.is_ours:
            fields = [restored(each) for each in fields]
        if self.reading.missing:
            fields = ["" if each in self.reading.missing else each for each in fields]
        for place in self.nameless:
            if fields[place]:
                return Found(line, None, f"column {place + 1} has a value but no name in the header", done)
        written = {name: fields[place] for place, name, _ in self.kept}
        values = {
            name: (fields[place] or None) if is_text else csv_value(fields[place]) for place, name, is_text in self.kept
        }
        return Found(line, WrittenRecord(values, written), "", done)


def fault_found(fault: CsvFault, done: int) -> Found:
    """A fault of a CSV file."""
    return Found(fault.line, None, fault.problem, done, TEXT_INVALID if fault.is_undecodable else MALFORMED)


# -------------------------------------------------------------------------------------------------------------- Parquet


def _parquet(path: Path, reading: Reading) -> Source:
    table = open_parquet(path, reading)

    def read() -> Iterator[Found]:
        number = 0
        for batch in table.batches(_ROWS_PER_READ):
            yield from found_rows(table, batch, number)
            number += len(batch)

    columns = Columns(table.schema, lambda: table.batches(_ROWS_PER_COLUMN_READ), table)
    assumed = tuple(f"column {name!r} looks like the index of a data frame, and is left out" for name in table.index)
    paths = paths_of_schema(table.file.schema_arrow, _maps(reading))
    return Source(path, "row", table.rows, read, columns, tuple(table.schema.names), assumed, paths=paths)


def found_rows(table: ParquetTable, batch: pa.RecordBatch, before: int) -> Iterator[Found]:
    """The rows of a batch that follows `before` other rows."""
    for number, record in table.records(batch, before):
        yield Found(number, record, "", number)
