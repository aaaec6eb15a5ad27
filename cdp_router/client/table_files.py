"""Tables as files of Parquet, CSV or NDJSON, written in pieces; a file gets its name when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cdp_router.client.formulas import defused, defused_schema

_PART: Final = ".part"  # suffix of an incomplete file
JSON: Final = {"json": "1"}  # metadata of a column whose texts are JSON: NDJSON contains the values themselves
_GROUP_ROWS: Final = 1 << 17
_GROUP_BYTES: Final = 1 << 26


class FileFormat(StrEnum):
    """File formats of tables."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"


FORMATS_BY_SUFFIX: Final = {
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".json": FileFormat.NDJSON,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
}


class TableSink(Protocol):
    """Receiver of batches of one schema."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Writes buffered rows, and the end of the file."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives the block a temporary path for a file.

    After the block the file is synced and renamed to `path`. If the block or the rename fails, the file is removed.
    """
    part = path.with_name(f"{path.name}{_PART}")
    try:
        yield part
        _sync(part)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder of files."""
    part = path.with_name(f"{path.name}{_PART}")
    part.mkdir(parents=True)
    try:
        yield part
        for file in part.iterdir():
            _sync(file)
        _sync(part)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class TableFile:
    """One table, open for writing at a path."""

    def __init__(self, path: Path, file_format: FileFormat, schema: pa.Schema, *, raw: bool = False) -> None:
        """`raw` leaves texts in CSV unchanged, including those that a spreadsheet would run as formulas."""
        self.rows = 0
        match file_format:
            case FileFormat.PARQUET:
                self._sink: TableSink = _Parquet(path, schema)
            case FileFormat.CSV:
                self._sink = pa.csv.CSVWriter(path, schema) if raw else _Defused(path, schema)
            case FileFormat.NDJSON:
                self._sink = _Lines(path.open("wb"), schema)

    def __enter__(self) -> TableFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._sink.write_batch(batch)
        self.rows += batch.num_rows


class _Defused:
    """CSV in which no text is a formula."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pa.csv.CSVWriter(path, defused_schema(schema))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(defused(batch))

    def close(self) -> None:
        self._writer.close()


class _Parquet:
    """Gathers batches into row groups of a size that suits readers."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting, self._rows, self._bytes = list[pa.RecordBatch](), 0, 0

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting, self._rows, self._bytes = [], 0, 0


class _Lines:
    """A JSON object per line, without the fields that have no value."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._file, self._encoder = file, msgspec.json.Encoder()
        self._json = frozenset(field.name for field in schema if b"json" in (field.metadata or {}))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._file.write(self._encoder.encode_lines(map(self._given, batch.to_pylist())))

    def close(self) -> None:
        self._file.close()

    def _given(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: msgspec.Raw(value.encode()) if name in self._json else value
            for name, value in row.items()
            if value is not None
        }
