"""Rows of every encoding to one batch of columns; bad records become errors with their position.

The work is done in steps, between which a caller may stop. Each step reads a bounded number of records, or is a pass
over the bytes by kernels and Arrow, which hold no lock of the interpreter.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2

from cdp_router.contract.values import from_timestamp_ms, from_value
from cdp_router.errors import RecordInvalid, RequestInvalid, RequestTooLarge
from cdp_router.identity.batch_links import joined
from cdp_router.limits import (
    BATCH_ID_BYTES_MAX,
    COLUMNS_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    ERRORS_TOLD_MAX,
    PIECE_RECORDS,
    ROWS_BYTES_MAX,
    ROWS_RECORDS_MAX,
)
from cdp_router.records.blocklist import Blocked
from cdp_router.records.columnarised import Columnarised, RowColumns
from cdp_router.records.columns import columnarise_arrow
from cdp_router.records.msgpack_rows import FoundRows, find_rows, read_msgpack_rows
from cdp_router.records.unusual_rows import unusual_rows
from cdp_router.records.validation import Row
from cdp_store.arrays import U32
from cdp_store.ids import ANONYMOUS_ID
from cdp_store.records import rules
from cdp_store.records.records import Strings, join_batches

Steps = Generator[None, None, Columnarised]
_Item = TypeVar("_Item")


def columnarise(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked | None = None) -> Columnarised:
    """The columns of a request's batch; RequestInvalid if none of it can be read."""
    steps = columnarise_steps(batch, now_ms, blocked)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            found: Columnarised = finished.value
            return found


def columnarise_steps(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked | None = None) -> Steps:
    """The same, step by step."""
    found = yield from _steps(batch, now_ms, blocked or Blocked())
    return with_envelopes(found, batch.envelopes) if batch.envelopes.texts else found


def _steps(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked) -> Steps:
    if not 1 <= len(batch.batch_id) <= BATCH_ID_BYTES_MAX:
        raise RequestInvalid("batch.batch_id", f"must have 1 to {BATCH_ID_BYTES_MAX} bytes, chosen by the sender")
    match batch.WhichOneof("records"):
        case "rows":
            _check_size("batch.rows", batch.rows.ByteSize(), ROWS_BYTES_MAX)
            if len(batch.rows.records) > ROWS_RECORDS_MAX:
                problem = f"has {len(batch.rows.records)} records; the limit is {ROWS_RECORDS_MAX}"
                raise RequestTooLarge("batch.rows", problem)
            return (yield from _protobuf_steps(batch, now_ms, blocked))
        case "msgpack_rows":
            _check_size("batch.msgpack_rows", len(batch.msgpack_rows), ROWS_BYTES_MAX)
            return (yield from _msgpack_steps(batch.msgpack_rows, batch.batch_id, now_ms, blocked))
        case "arrow_columns":
            _check_size("batch.arrow_columns", len(batch.arrow_columns), COLUMNS_BYTES_MAX)
            return (yield from _arrow_steps(batch, now_ms, blocked))
    raise RequestInvalid("batch.records", "one of rows, msgpack_rows and arrow_columns must be given")


def _arrow_steps(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked) -> Steps:
    try:
        return (yield from columnarise_arrow(batch.arrow_columns, batch.batch_id, now_ms, blocked))
    except pa.ArrowException as error:
        raise RequestInvalid("batch.arrow_columns", f"cannot be used: {error}") from error


def _protobuf_steps(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked) -> Steps:
    columns = RowColumns(now_ms, blocked)
    for piece in _pieces(enumerate(batch.rows.records)):
        columns.take_all((index, _protobuf_row(record)) for index, record in piece)
        yield
    return columns.finish(batch.batch_id)


def _msgpack_steps(packed: bytes, batch_id: bytes, now_ms: int, blocked: Blocked) -> Steps:
    """Reads the usual rows with a kernel; the others take the path of all other rows, in pieces."""
    found = find_rows(packed)
    read = read_msgpack_rows(found, batch_id, now_ms, blocked)
    left = range(len(found)) if read is None else read.unusual.tolist()
    if read is not None and not left and len(found) == found.promised:
        return Columnarised(read.batch, read.positions, [], read.links)
    yield
    columns = RowColumns(now_ms, blocked)
    for piece in _pieces(left):
        columns.take_all(unusual_rows(found, piece))
        yield
    _tell_broken(columns, found)
    rest = columns.finish(batch_id)
    if read is None:
        return rest
    positions = np.concatenate((read.positions, rest.positions))
    order = np.argsort(positions)
    whole = join_batches((read.batch, rest.batch)).take(order)
    links = joined((read.links, rest.links))
    return Columnarised(whole, positions[order], rest.errors, links, rest.errors_omitted)


def _pieces(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """The items, in pieces that one step may take."""
    left = iter(items)
    while piece := list(islice(left, PIECE_RECORDS)):
        yield piece


def _tell_broken(columns: RowColumns, found: FoundRows) -> None:
    """Reports each record after the place where the bytes stop being msgpack as unreadable."""
    lost = found.promised - len(found)
    if not lost:
        return
    told, reason = min(lost, ERRORS_TOLD_MAX), RecordInvalid.of(rules.ROW_BYTES, at=found.starts[-1])
    columns.take_all((len(found) + number, reason) for number in range(told))
    columns.errors.omitted += lost - told


def with_envelopes(columnarised: Columnarised, given: ingest_pb2.Envelopes) -> Columnarised:
    """The same with the envelopes of its records; RequestInvalid if they do not fit."""
    texts, numbers = [text.encode() for text in given.texts], np.array(given.records, np.uint32)
    if max(map(len, texts)) > ENVELOPE_BYTES_MAX:
        raise RequestInvalid("batch.envelopes.texts", f"one has more than {ENVELOPE_BYTES_MAX} bytes")
    if numbers.size and int(numbers.max()) > len(texts):
        raise RequestInvalid("batch.envelopes.records", f"there are {len(texts)} texts, and a record has a later one")
    positions = columnarised.positions
    own: U32 = np.zeros(positions.shape[0], np.uint32)
    told = positions < numbers.shape[0]
    own[told] = numbers[positions[told]]
    batch = replace(columnarised.batch, envelopes=Strings.of([b"", *texts]), record_envelopes=own)
    return replace(columnarised, batch=batch)


def _check_size(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise RequestInvalid(field, f"{size} bytes; the limit is {limit}. Send smaller batches")


def _protobuf_row(record: ingest_pb2.Record) -> Row | RecordInvalid:
    body, others = record.WhichOneof("body"), dict[str, str](record.identifiers)
    if body is None:
        return RecordInvalid.of(rules.BODY)
    if body == "alias":
        others.setdefault(record.alias.previous_kind or ANONYMOUS_ID, record.alias.previous_id)
    values = record.event.properties if body == "event" else record.attributes.attributes
    try:
        time_ms = from_timestamp_ms(record.time) if record.HasField("time") else None
        decoded = {key: from_value(value, key) for key, value in values.items()}
        operations = _protobuf_operations(record.attributes)
    except RecordInvalid as error:
        return error
    name = record.event.name if body == "event" else None
    return Row(name, record.user_id, record.anonymous_id, time_ms, record.message_id, decoded, others, operations)


def _protobuf_operations(record: ingest_pb2.AttributesRecord) -> dict[str, dict[str, Any]]:
    given = {
        "set_once": record.set_once,
        "increment": record.increment,
        "append": record.append,
        "remove": record.remove,
    }
    return {name: {key: from_value(value, key) for key, value in each.items()} for name, each in given.items() if each}
