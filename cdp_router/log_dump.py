"""What the records of a shard's log hold, as lines for people and machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from cdp_store.errors import BatchMalformed
from cdp_store.log.format import FILE_HEADER_BYTES, LogRecord, RecordKind
from cdp_store.log.reader import durable_position, finished_segments, read_segment
from cdp_store.records import decode_batch
from cdp_store.shard_directory import log_path


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


def read_lines(directory: Path, shard: int) -> Iterator[Line]:
    """One line per record of a shard's log, oldest first; a StoreError where the log is damaged."""
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


def readable(line: Line) -> str:
    """A line as people read it."""
    where = f"shard {line.shard} {line.segment}+{line.offset}"
    what = f"partition {line.partition} sequence {line.sequence} {line.kind} {line.bytes} bytes"
    if line.problem:
        return f"{where}: {what}: no batch ({line.problem})"
    if line.kind != RecordKind.BATCH.name:
        return f"{where}: {what}"
    return f"{where}: {what}: {line.events} events, {line.changes} changes, batch {line.batch_id!r}"
