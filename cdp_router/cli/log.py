"""`cdp log`: looking into the logs of a data directory, without a running cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cdp_router.cli.console import OUT, fail
from cdp_router.topology import ClusterDirectory
from cdp_store.errors import BatchMalformed, StoreError
from cdp_store.log.format import FILE_HEADER_BYTES, LogRecord, RecordKind
from cdp_store.log.reader import durable_position, finished_segments, read_segment
from cdp_store.records import decode_batch
from cdp_store.shard_directory import log_path

log = typer.Typer(name="log", help="Look into the logs of a data directory.", no_args_is_help=True)


@log.callback()
def _log() -> None:
    """Look into the logs of a data directory."""


class Line(msgspec.Struct, omit_defaults=True):
    """What is told of one record."""

    shard: int
    segment: str
    offset: int
    partition: int
    sequence: int
    kind: str
    bytes: int
    received_ms: int = 0
    batch_id: str = ""
    events: int = 0
    changes: int = 0
    problem: str = ""


@log.command("dump")
def dump(
    data: Annotated[Path, typer.Option(help="Directory of the data.")] = Path("cdp-data"),
    shard: Annotated[int | None, typer.Option(min=0, help="Only this shard.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")] = False,
) -> None:
    """List the records of the logs. Reads only; damage ends the list with an error that says where it is."""
    directory = ClusterDirectory(data)
    try:
        cluster = directory.load()
        numbers = range(cluster.shards) if shard is None else (shard,)
        if shard is not None and shard >= cluster.shards:
            fail(f"--shard {shard} is none of the {cluster.shards} shards in {data}", 2)
        for number in numbers:
            for line in _lines(directory.shard_path(number), number):
                OUT.print(msgspec.json.encode(line).decode() if as_json else _readable(line), soft_wrap=True)
    except FileNotFoundError as error:
        fail(f"{error.filename} is missing; --data must name the directory of a cluster")
    except (StoreError, OSError) as error:
        fail(str(error))


def _lines(directory: Path, shard: int) -> Iterator[Line]:
    position = durable_position(log_path(directory))
    paths = finished_segments(log_path(directory), position)
    for path in paths:
        offset = FILE_HEADER_BYTES
        for record in read_segment(path, last=path is paths[-1], position=position):
            yield _line(record, shard, path, offset)
            offset = record.end


def _line(record: LogRecord, shard: int, path: Path, offset: int) -> Line:
    kind = RecordKind(record.kind)
    line = Line(shard, path.name, offset, record.partition, record.sequence, kind.name, len(record.payload))
    if kind is RecordKind.BATCH:
        try:
            batch = decode_batch(record.payload)
        except BatchMalformed as error:
            line.problem = error.reason
            return line
        changes = int(batch.is_attributes().sum())
        line.received_ms, line.batch_id = batch.received_ms, batch.batch_id.decode(errors="backslashreplace")
        line.events, line.changes = len(batch) - changes, changes
    return line


def _readable(line: Line) -> str:
    where = f"shard {line.shard} {line.segment}+{line.offset}"
    what = f"partition {line.partition} sequence {line.sequence} {line.kind} {line.bytes} bytes"
    if line.problem:
        return f"{where}: {what}: no batch ({line.problem})"
    if line.kind != RecordKind.BATCH.name:
        return f"{where}: {what}"
    return f"{where}: {what}: {line.events} events, {line.changes} changes, batch {line.batch_id!r}"
