"""`cdp ingest`: files into a cluster."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from cdp.v1 import ingest_pb2
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cdp_router.cli.console import DEFAULT_ADDRESS, OUT, Address, connected, fail, parse_instant
from cdp_router.cli.mapping import ColumnMapping, RowRejected, to_row
from cdp_router.cli.sources import Source, SourceInvalid, open_source
from cdp_router.client import Client
from cdp_router.limits import ROWS_BYTES_MAX
from cdp_store.values import to_ms

_ROWS_PER_BATCH: Final = 4000
_BATCH_BYTES: Final = ROWS_BYTES_MAX * 3 // 4
_BATCHES_IN_FLIGHT: Final = 4
_EXAMPLES: Final = 3


@dataclass(slots=True)
class _Rejections:
    """Why records were not taken: counts per reason with the first few places."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, place: str, message: str) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        examples = self.examples.setdefault(code, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{place}: {message}")


@dataclass(slots=True)
class _Sent:
    """A batch on its way: where its rows stood in the file."""

    places: list[str]
    result: Future[ingest_pb2.BatchResult]


@dataclass(slots=True)
class _Loading:
    """One run of `cdp ingest` over its files."""

    client: Client
    mapping: ColumnMapping
    threads: ThreadPoolExecutor
    progress: Progress
    rejections: _Rejections = field(default_factory=_Rejections)
    in_flight: deque[_Sent] = field(default_factory=deque)
    accepted: int = 0
    duplicates: int = 0

    def load(self, source: Source, task: TaskID) -> None:
        """Send a file; returns when all of it is acknowledged."""
        for number, (rows, places, done) in enumerate(self._batches(source)):
            self._send(source, number, rows, places)
            self.progress.update(task, completed=done, rows=self.accepted + self.duplicates)
            while len(self.in_flight) >= _BATCHES_IN_FLIGHT:
                self._settle()
        while self.in_flight:
            self._settle()
        self.progress.update(task, completed=source.size, rows=self.accepted + self.duplicates)

    def _batches(self, source: Source) -> Iterator[tuple[list[bytes], list[str], int]]:
        rows, places, size, done = list[bytes](), list[str](), 0, 0
        for found in source.read():
            done = found.done
            place = f"{source.path.name} {source.unit} {found.line}"
            if found.record is None:
                self.rejections.add("RECORD_MALFORMED", place, found.problem)
                continue
            row = self._encoded(found.record, place)
            if row is None:
                continue
            if rows and (len(rows) == _ROWS_PER_BATCH or size + len(row) > _BATCH_BYTES):
                yield rows, places, done
                rows, places, size = [], [], 0
            rows.append(row)
            places.append(place)
            size += len(row)
        if rows:
            yield rows, places, done

    def _encoded(self, record: dict[str, Any], place: str) -> bytes | None:
        """The row of a record as msgpack; a record that is none is noted as rejected."""
        try:
            encoded = msgspec.msgpack.encode(to_row(record, self.mapping))
        except RowRejected as error:
            self.rejections.add("RECORD_MALFORMED", place, error.reason)
            return None
        except (OverflowError, UnicodeEncodeError, TypeError, RecursionError) as error:
            self.rejections.add("VALUE_UNUSABLE", place, str(error))
            return None
        if len(encoded) > _BATCH_BYTES:
            self.rejections.add("RECORD_TOO_LARGE", place, f"{len(encoded)} bytes")
            return None
        return encoded

    def _send(self, source: Source, number: int, rows: Sequence[bytes], places: list[str]) -> None:
        packed = b"".join([b"\xdd", len(rows).to_bytes(4, "big"), *rows])  # a msgpack array of 32-bit length
        # The same file sent again gives the same ids, so that an interrupted run can simply be repeated.
        place = hashlib.blake2b(f"{number} {source.path.name}".encode(), digest_size=32).digest()
        digest = hashlib.blake2b(packed, digest_size=16, key=place)
        batch = ingest_pb2.Batch(batch_id=digest.digest(), msgpack_rows=packed)
        self.in_flight.append(_Sent(places, self.threads.submit(self.client.ingest, batch)))

    def _settle(self) -> None:
        sent = self.in_flight.popleft()
        result = sent.result.result()
        self.accepted += result.accepted
        self.duplicates += result.duplicates
        for error in result.errors:
            self.rejections.add(error.code, sent.places[error.index], error.message)


def ingest(
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
            client.status()
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
    if rejected:
        table = Table("reason", "records", "for example", box=None, pad_edge=False)
        for code, count in sorted(loading.rejections.counts.items(), key=lambda entry: -entry[1]):
            table.add_row(code, f"{count:,}", "\n".join(loading.rejections.examples[code]))
        OUT.print(table)
        raise typer.Exit(1)
