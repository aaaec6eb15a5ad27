"""Records of a shard's log, as lines for people and machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from cdp_router.printable import count_of
from cdp_store.directory.shard_directory import log_path
from cdp_store.errors import BatchMalformed
from cdp_store.ids import decode_identifier
from cdp_store.log.format import FILE_HEADER_BYTES, LogRecord, RecordKind
from cdp_store.log.segment_reader import durable_position, finished_segments, read_segment
from cdp_store.records.records import ATTRIBUTES, RecordBatch, decode_batch
from cdp_store.values import to_datetime


class RecordLine(msgspec.Struct, omit_defaults=True):
    """Line about one record of a batch; a change of attributes has no name."""

    identifier: str
    time_ms: int
    name: str = ""
    message_id: str = ""


class Line(msgspec.Struct, omit_defaults=True):
    """Line about one record."""

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
    records: tuple[RecordLine, ...] = ()


def read_lines(directory: Path, shard: int, *, with_records: bool = False) -> Iterator[Line]:
    """One line per log record of a shard, oldest first; a StoreError if the log is damaged.

    `with_records` also lists the records of each batch.
    """
    position = durable_position(log_path(directory))
    paths = finished_segments(log_path(directory), position)
    for path in paths:
        offset = FILE_HEADER_BYTES
        for record in read_segment(path, last=path is paths[-1], position=position):
            yield _line(record, shard, path, offset, with_records=with_records)
            offset = record.end


def _line(record: LogRecord, shard: int, path: Path, offset: int, *, with_records: bool) -> Line:
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
        line.records = tuple(_records(batch)) if with_records else ()
    return line


def _records(batch: RecordBatch) -> Iterator[RecordLine]:
    columns = (batch.record_identities, batch.record_times, batch.record_names)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for number, (identity, time_ms, name) in enumerate(rows):
        identifier = " ".join(decode_identifier(batch.identities[identity]))
        message_id = batch.message_ids[number].decode()
        yield RecordLine(identifier, time_ms, "" if name == ATTRIBUTES else batch.names[name], message_id)


def readable(line: Line) -> str:
    """A line in a form for people."""
    where = f"shard {line.shard} {line.segment}+{line.offset}"
    what = f"partition {line.partition} sequence {line.sequence} {line.kind} {count_of(line.bytes, 'byte')}"
    if line.problem:
        return f"{where}: {what}: no batch ({line.problem})"
    if line.kind != RecordKind.BATCH.name:
        return f"{where}: {what}"
    records = "".join(map(_readable_record, line.records))
    counts = f"{count_of(line.events, 'event')}, {count_of(line.changes, 'change')}"
    return f"{where}: {what}: {counts}, batch {line.batch_id!r}{records}"


def _readable_record(record: RecordLine) -> str:
    what = f"event {record.name!r}" if record.name else "change"
    message_id = f", message id {record.message_id!r}" if record.message_id else ""
    return f"\n    {to_datetime(record.time_ms).isoformat()} {what} of {record.identifier}{message_id}"
