"""`cdp import`: files into a cluster."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import typer
from cdp.v1 import ingest_pb2
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cdp_router.cli.column_mapping import columns_mappable, map_columns
from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail, parse_instant
from cdp_router.cli.mapping import EXPORTED, ColumnMapping, RowRejected, to_row
from cdp_router.cli.sources import Found, Source, SourceInvalid, found_rows, open_source
from cdp_router.client import Client
from cdp_router.limits import COLUMNS_BYTES_MAX, COLUMNS_VALUES, ROWS_BYTES_MAX
from cdp_store.values import to_ms

_ROWS_PER_BATCH: Final = 4000
_BATCH_BYTES: Final = ROWS_BYTES_MAX * 3 // 4
_COLUMN_BYTES: Final = COLUMNS_BYTES_MAX // 2
_BATCHES_IN_FLIGHT: Final = 4
_EXAMPLES: Final = 3


@dataclass(slots=True)
class _Rejections:
    """What is wrong with records: counts per reason with the first few places."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def count(self, code: str, number: int) -> None:
        """Count records of which no place is known."""
        if number:
            self.counts[code] = self.counts.get(code, 0) + number
            self.examples.setdefault(code, [])

    def add(self, code: str, place: str, message: str) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        examples = self.examples.setdefault(code, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{place}: {message}")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a file as a batch: its encoding, the line or row of each record, how far it reaches into the file."""

    encoding: str
    content: bytes
    lines: Sequence[int] | npt.NDArray[np.int64]
    done: int


@dataclass(slots=True)
class _Sent:
    """A batch on its way: where its records stood in the file."""

    source: Source
    piece: _Piece
    result: Future[ingest_pb2.BatchResult]


@dataclass(slots=True)
class _Loading:
    """One run of `cdp import` over its files."""

    client: Client
    mapping: ColumnMapping
    threads: ThreadPoolExecutor
    progress: Progress
    rejections: _Rejections = field(default_factory=_Rejections)
    warnings: _Rejections = field(default_factory=_Rejections)
    quarantined: int = 0
    in_flight: deque[_Sent] = field(default_factory=deque)
    in_order: bool = False  # one batch after the other, as what was exported arrived
    accepted: int = 0
    duplicates: int = 0

    def load(self, source: Source, task: TaskID) -> None:
        """Send a file; returns when all of it is acknowledged."""
        self.in_order = False
        in_columns = source.columns is not None and columns_mappable(source.columns.schema, self.mapping)
        pieces = self._pieces_of_columns(source) if in_columns else self._pieces_of_rows(source, source.read())
        # The same file sent again gives the same ids, so that an interrupted run can simply be repeated.
        content = _digest(source.path) if in_columns else b""
        for number, piece in enumerate(pieces):
            self._send(source, number, piece, content)
            self.progress.update(task, completed=piece.done, rows=self.accepted + self.duplicates)
            while len(self.in_flight) >= (1 if self.in_order else _BATCHES_IN_FLIGHT):
                self._settle()
        while self.in_flight:
            self._settle()
        self.progress.update(task, completed=source.size, rows=self.accepted + self.duplicates)

    def _pieces_of_columns(self, source: Source) -> Iterator[_Piece]:
        assert source.columns is not None
        before, self.in_order = 0, EXPORTED in source.columns.schema.names
        for batch in source.columns.read():
            for part in _within_limit(batch):
                mapped = map_columns(part, self.mapping)
                if mapped is None or part.nbytes > _COLUMN_BYTES:
                    yield from self._pieces_of_rows(source, found_rows(part, before))
                else:
                    for row, reason in mapped.rejected:
                        self.rejections.add("RECORD_MALFORMED", _place(source, before + row + 1), reason)
                    if mapped.rows.size:
                        stream = _arrow_stream(mapped.columns)
                        yield _Piece("arrow_columns", stream, mapped.rows + before + 1, before + len(part))
                before += len(part)

    def _pieces_of_rows(self, source: Source, records: Iterator[Found]) -> Iterator[_Piece]:
        rows, lines, size, done = list[bytes](), list[int](), 0, 0
        for found in records:
            done = found.done
            if found.record is None:
                self.rejections.add("RECORD_MALFORMED", _place(source, found.line), found.problem)
                continue
            self.in_order = self.in_order or EXPORTED in found.record
            row = self._encoded(found.record, source, found.line)
            if row is None:
                continue
            if rows and (len(rows) == _ROWS_PER_BATCH or size + len(row) > _BATCH_BYTES):
                yield _Piece("msgpack_rows", _msgpack_array(rows), lines, done)
                rows, lines, size = [], [], 0
            rows.append(row)
            lines.append(found.line)
            size += len(row)
        if rows:
            yield _Piece("msgpack_rows", _msgpack_array(rows), lines, done)

    def _encoded(self, record: dict[str, Any], source: Source, line: int) -> bytes | None:
        """The row of a record as msgpack; a record that is none is noted as rejected."""
        try:
            encoded = msgspec.msgpack.encode(to_row(record, self.mapping))
        except RowRejected as error:
            self.rejections.add("RECORD_MALFORMED", _place(source, line), error.reason)
            return None
        except (OverflowError, UnicodeEncodeError, TypeError, RecursionError) as error:
            self.rejections.add("VALUE_UNUSABLE", _place(source, line), str(error))
            return None
        if len(encoded) > _BATCH_BYTES:
            self.rejections.add("RECORD_TOO_LARGE", _place(source, line), f"{len(encoded)} bytes")
            return None
        return encoded

    def _send(self, source: Source, number: int, piece: _Piece, content: bytes) -> None:
        place = hashlib.blake2b(f"{number} {source.path.name}".encode(), digest_size=32).digest()
        # Arrow does not say what stands where a value is null: the file's own bytes tell its columns.
        told = content + repr(self.mapping).encode() if content else piece.content
        digest = hashlib.blake2b(told, digest_size=16, key=place)
        batch = ingest_pb2.Batch(batch_id=digest.digest())
        setattr(batch, piece.encoding, piece.content)
        self.in_flight.append(_Sent(source, piece, self.threads.submit(self.client.ingest, batch)))

    def _settle(self) -> None:
        sent = self.in_flight.popleft()
        result = sent.result.result()
        self.accepted += result.accepted
        self.duplicates += result.duplicates
        self.quarantined += result.quarantined
        self.rejections.count("MORE", result.errors_omitted)
        self.warnings.count("MORE", result.warnings_omitted)
        for told, records in ((self.rejections, result.errors), (self.warnings, result.warnings)):
            for each in records:
                told.add(each.code, _place(sent.source, int(sent.piece.lines[each.index])), each.message)


def _place(source: Source, line: int) -> str:
    return f"{source.path.name} {source.unit} {line}"


def _msgpack_array(rows: Sequence[bytes]) -> bytes:
    return b"".join([b"\xdd", len(rows).to_bytes(4, "big"), *rows])  # a length of 32 bits


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _within_limit(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in parts that fit a message each, as far as rows go."""
    fits = batch.nbytes <= _COLUMN_BYTES and len(batch) * (batch.num_columns + 1) <= COLUMNS_VALUES
    if fits or len(batch) == 1:
        yield batch
        return
    half = len(batch) // 2
    yield from _within_limit(batch.slice(0, half))
    yield from _within_limit(batch.slice(half))


def _arrow_stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def import_files(
    files: Annotated[list[Path], typer.Argument(help="NDJSON, CSV or Parquet files.", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    file_format: Annotated[
        str | None, typer.Option("--format", help="ndjson, csv or parquet. [default: by the file's name]")
    ] = None,
    user_id: Annotated[str | None, typer.Option(help="Column of the user id. [default: user_id]")] = None,
    anonymous_id: Annotated[
        str | None, typer.Option(help="Column of the anonymous id. [default: anonymous_id]")
    ] = None,
    event: Annotated[str | None, typer.Option(help="Column of the event name. [default: event]")] = None,
    event_name: Annotated[str | None, typer.Option(help="Name of the event where no column holds it.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time. [default: time, ts or timestamp]")] = None,
    time_unit: Annotated[str, typer.Option(help="Unit of times given as numbers: s, ms, us or ns.")] = "ms",
    default_time: Annotated[str | None, typer.Option(help="Time of records that have none.")] = None,
    message_id: Annotated[str | None, typer.Option(help="Column of the message id. [default: message_id]")] = None,
    properties: Annotated[
        str | None, typer.Option(help="Column of properties as a map or JSON. [default: properties]")
    ] = None,
    attributes: Annotated[
        str | None,
        typer.Option(
            help="Column of attributes as a map or JSON; rows without event change attributes. [default: attributes]"
        ),
    ] = None,
) -> None:
    """Load files of events or attributes. Columns that are not mapped become properties. Running it again is safe."""
    if file_format not in (None, "ndjson", "csv", "parquet"):
        fail(f"--format {file_format!r} is unknown; use ndjson, csv or parquet", 2)
    if time_unit not in ("s", "ms", "us", "ns"):
        fail(f"--time-unit {time_unit!r} is unknown; use s, ms, us or ns", 2)
    default_time_ms = None if default_time is None else to_ms(parse_instant(default_time, "--default-time"))
    mapping = ColumnMapping(
        user_id, anonymous_id, event, time, message_id, properties, attributes, event_name, default_time_ms, time_unit
    )
    try:
        sources = [open_source(path, file_format) for path in files]
        with connected(address) as client:
            client.check()
            _load_all(client, mapping, sources)
    except SourceInvalid as error:
        fail(str(error))


def _load_all(client: Client, mapping: ColumnMapping, sources: Sequence[Source]) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} records"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=OUT) as progress, ThreadPoolExecutor(_BATCHES_IN_FLIGHT) as threads:
        loading = _Loading(client, mapping, threads, progress)
        for source in sources:
            loading.load(source, progress.add_task(source.path.name, total=source.size, rows=0))
        seconds = sum(task.elapsed or 0.0 for task in progress.tasks)
    _summarise(loading, seconds)


def _summarise(loading: _Loading, seconds: float) -> None:
    rejected = sum(loading.rejections.counts.values())
    rate = (loading.accepted + loading.duplicates) / seconds if seconds else 0.0
    OUT.print(
        f"{loading.accepted:,} records taken, {loading.duplicates:,} known already, {rejected:,} rejected"
        f" in {seconds:.1f} s ({rate:,.0f} records/s, durable)"
    )
    if loading.quarantined:
        OUT.print(f"{loading.quarantined:,} records are in quarantine (`cdp quarantine list`)")
    for told in (loading.warnings, loading.rejections):
        if told.counts:
            OUT.print(_told(told))
    if rejected:
        raise typer.Exit(1)


def _told(told: _Rejections) -> Table:
    table = Table("reason", "records", "for example", box=None, pad_edge=False)
    for code, count in sorted(told.counts.items(), key=lambda entry: -entry[1]):
        table.add_row(code, f"{count:,}", "\n".join(told.examples[code]))
    return table
