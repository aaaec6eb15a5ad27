"""Parquet files: batches of columns, and rows of any type; a bad value costs only its row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from cdp_router.importing.arrow_values import ArrowReader
from cdp_router.importing.read_options import Reading
from cdp_router.importing.source_errors import SourceInvalid

_INDEX: Final = re.compile(r"__index_level_[0-9]+__")  # pandas' name for an index without a name
# Everything that pyarrow raises for a damaged file: its own errors, and those of the Python objects it builds.
_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, IndexError, KeyError)


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """An open file: its columns except those left out, and the names of those that were an index."""

    path: Path
    file: pq.ParquetFile
    schema: pa.Schema
    rows: int
    index: tuple[str, ...]
    reader: ArrowReader

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The file in batches of this many rows. Raises SourceInvalid where it cannot be read further."""
        number = 0
        try:
            for batch in self.file.iter_batches(rows):
                kept = batch.select(self.schema.names) if len(self.schema) < batch.num_columns else batch
                kept.validate()
                yield kept
                number += len(batch)
        except _UNREADABLE as error:
            raise SourceInvalid(f"{self.path}: damaged after row {number}: {error}") from error

    def records(self, batch: pa.RecordBatch, before: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a batch that follows `before` others, with their numbers; for their values see `ArrowReader`."""
        try:
            columns = [
                self.reader.values(field.name, column, field)
                for field, column in zip(batch.schema, batch.columns, strict=True)
            ]
        except _UNREADABLE as error:
            raise SourceInvalid(f"{self.path}: damaged after row {before}: {error}") from error
        names = batch.schema.names
        for number, values in enumerate(zip(*columns, strict=True) if columns else [()] * len(batch), before + 1):
            yield number, dict(zip(names, values, strict=True))


def open_parquet(path: Path, reading: Reading) -> ParquetTable:
    """A Parquet file; SourceInvalid if it is not one."""
    try:
        # Instants of 96 bits always fit milliseconds; nanoseconds would overflow.
        file = pq.ParquetFile(
            path,
            coerce_int96_timestamp_unit="ms",
            page_checksum_verification=True,
            arrow_extensions_enabled=True,
        )
        schema, rows = file.schema_arrow, file.metadata.num_rows
        names = schema.names
    except _UNREADABLE as error:
        raise SourceInvalid(f"{path}: not a Parquet file: {error}") from error
    if len(set(names)) != len(names):
        raise SourceInvalid(f"{path}: two columns have one name")
    index = tuple(field.name for number, field in enumerate(schema) if _is_index(number, field))
    kept = pa.schema([field for field in schema if field.name not in index and field.name not in reading.skip])
    return ParquetTable(path, file, kept, rows, index, ArrowReader(reading))


def _is_index(number: int, field: pa.Field) -> bool:
    """True if a column holds the row numbers of a data frame; a named index is a column like others."""
    return bool(_INDEX.fullmatch(field.name)) or (number == 0 and not field.name and pa.types.is_integer(field.type))
