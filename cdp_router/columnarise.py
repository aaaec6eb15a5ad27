"""Rows of every encoding to one batch of columns; bad records come back as errors with their position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2

from cdp_router.blocking import Blocked
from cdp_router.columns import columnarise_arrow
from cdp_router.errors import RequestInvalid
from cdp_router.limits import BATCH_ID_BYTES_MAX, COLUMNS_BYTES_MAX, ENVELOPE_BYTES_MAX, ROWS_BYTES_MAX
from cdp_router.linking import NO_LINKS, any_blocked, joined
from cdp_router.msgpack_rows import read_msgpack_rows
from cdp_router.validation import RecordInvalid, Row, check_row
from cdp_router.wire.values import from_timestamp_ms, from_value
from cdp_store.arrays import U32
from cdp_store.builder import BatchBuilder
from cdp_store.identity.changes import Links
from cdp_store.ids import ANONYMOUS_ID, encode_identifier, rank_of_kind
from cdp_store.limits import NAMES_PER_BATCH_MAX
from cdp_store.records import RecordBatch, Strings, join_batches

_ROW_FIELDS = 6
_ARRAY_HEAD = b"\xdd"  # of a msgpack array with a length of 32 bits


@dataclass(frozen=True, slots=True)
class Columnarised:
    """A batch, what was left out of it, and which identifiers its records give together; positions[i] is where record
    i stood in the request."""

    batch: RecordBatch
    positions: np.ndarray[tuple[int], np.dtype[np.intp]]
    errors: list[ingest_pb2.RecordError]
    links: Links = NO_LINKS


def columnarise(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked | None = None) -> Columnarised:
    """The columns of a request's batch; RequestInvalid when nothing of it can be read."""
    found = _columnarise(batch, now_ms, blocked or Blocked())
    return with_envelopes(found, batch.envelopes) if batch.envelopes.texts else found


def _columnarise(batch: ingest_pb2.Batch, now_ms: int, blocked: Blocked) -> Columnarised:
    if not 1 <= len(batch.batch_id) <= BATCH_ID_BYTES_MAX:
        raise RequestInvalid("batch.batch_id", f"must have 1 to {BATCH_ID_BYTES_MAX} bytes, chosen by the sender")
    match batch.WhichOneof("records"):
        case "rows":
            _check_size("batch.rows", batch.rows.ByteSize(), ROWS_BYTES_MAX)
            return columnarise_rows(_protobuf_rows(batch.rows.records), batch.batch_id, now_ms, blocked)
        case "msgpack_rows":
            _check_size("batch.msgpack_rows", len(batch.msgpack_rows), ROWS_BYTES_MAX)
            return columnarise_msgpack(batch.msgpack_rows, batch.batch_id, now_ms, blocked)
        case "arrow_columns":
            _check_size("batch.arrow_columns", len(batch.arrow_columns), COLUMNS_BYTES_MAX)
            try:
                arrow = columnarise_arrow(batch.arrow_columns, batch.batch_id, now_ms, blocked)
            except pa.ArrowException as error:
                raise RequestInvalid("batch.arrow_columns", f"cannot be used: {error}") from error
            errors = [_error(index, error) for index, error in arrow.invalid]
            return Columnarised(arrow.batch, arrow.positions, errors, arrow.links)
    raise RequestInvalid("batch.records", "one of rows, msgpack_rows and arrow_columns must be given")


def with_envelopes(columnarised: Columnarised, given: ingest_pb2.Envelopes) -> Columnarised:
    """The same with what its records came wrapped in; RequestInvalid where that is not what it should be."""
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


def columnarise_msgpack(packed: bytes, batch_id: bytes, now_ms: int, blocked: Blocked | None = None) -> Columnarised:
    """The columns of msgpack rows: a kernel reads the usual ones, what it leaves goes the road of all other rows."""
    blocked = blocked or Blocked()
    read = read_msgpack_rows(packed, batch_id, now_ms)
    if read is None or any_blocked(read.batch.identities, blocked) or any_blocked(read.links.lower, blocked):
        return columnarise_rows(msgpack_rows(packed), batch_id, now_ms, blocked)
    if not read.unusual:
        return Columnarised(read.batch, read.positions, [], read.links)
    array = _ARRAY_HEAD + len(read.unusual).to_bytes(4, "big") + b"".join(row.packed for row in read.unusual)
    try:
        rest = columnarise_rows(msgpack_rows(array), batch_id, now_ms, blocked)
    except RequestInvalid:
        # Not even decodable: the message must speak of the bytes that were sent.
        return columnarise_rows(msgpack_rows(packed), batch_id, now_ms, blocked)
    places = np.array([unusual.position for unusual in read.unusual], np.intp)
    for error in rest.errors:
        error.index = int(places[error.index])
    positions = np.concatenate((read.positions, places[rest.positions]))
    order = np.argsort(positions)
    whole = join_batches((read.batch, rest.batch)).take(order)
    return Columnarised(whole, positions[order], rest.errors, joined((read.links, rest.links)))


def columnarise_rows(
    rows: Iterable[Row | RecordInvalid], batch_id: bytes, now_ms: int, blocked: Blocked | None = None
) -> Columnarised:
    """The columns of rows that are Python objects, with the reason of each that cannot be taken."""
    is_blocked, links = blocked or Blocked(), list[tuple[bytes, bytes, int, bytes]]()
    builder, positions, errors = BatchBuilder(), list[int](), list[ingest_pb2.RecordError]()
    for index, row in enumerate(rows):
        try:
            if isinstance(row, RecordInvalid):
                raise row
            checked = check_row(row, now_ms, is_blocked)
            if not builder.has_room(checked.name, checked.values):
                raise RecordInvalid("TOO_MANY_NAMES", f"one batch may mention {NAMES_PER_BATCH_MAX} different names")
        except RecordInvalid as error:
            errors.append(_error(index, error))
            continue
        builder.add(
            checked.kind,
            checked.identifier,
            checked.name,
            checked.time_ms,
            checked.values,
            checked.message_id,
            checked.operations,
        )
        positions.append(index)
        upper = encode_identifier(checked.kind, checked.identifier)
        for kind, value in checked.others:
            if rank_of_kind(kind) > rank_of_kind(checked.kind):
                said = checked.time_ms, checked.message_id.encode()
                links.append((encode_identifier(kind, value), upper, *said))
    return Columnarised(builder.finish(batch_id, now_ms), np.array(positions, np.intp), errors, Links.of(links))


def _error(index: int, error: RecordInvalid) -> ingest_pb2.RecordError:
    return ingest_pb2.RecordError(index=index, code=error.code, message=error.message)


def _protobuf_rows(records: Iterable[ingest_pb2.Record]) -> Iterator[Row | RecordInvalid]:
    for record in records:
        body, others = record.WhichOneof("body"), dict[str, str](record.identifiers)
        if body is None:
            yield RecordInvalid("BODY_MISSING", "a record needs an event, attributes or an alias")
            continue
        if body == "alias":
            others.setdefault(record.alias.previous_kind or ANONYMOUS_ID, record.alias.previous_id)
        values = record.event.properties if body == "event" else record.attributes.attributes
        try:
            time_ms = from_timestamp_ms(record.time) if record.HasField("time") else None
            decoded = {key: from_value(value) for key, value in values.items()}
            operations = _protobuf_operations(record.attributes)
        except RecordInvalid as error:
            yield error
            continue
        name = record.event.name if body == "event" else None
        yield Row(name, record.user_id, record.anonymous_id, time_ms, record.message_id, decoded, others, operations)


def _protobuf_operations(record: ingest_pb2.AttributesRecord) -> dict[str, dict[str, Any]]:
    given = {
        "set_once": record.set_once,
        "increment": record.increment,
        "append": record.append,
        "remove": record.remove,
    }
    return {name: {key: from_value(value) for key, value in each.items()} for name, each in given.items() if each}


def msgpack_rows(packed: bytes) -> Iterator[Row | RecordInvalid]:
    """The rows of a msgpack array as Python objects."""
    try:
        rows: Any = msgspec.msgpack.decode(packed)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise RequestInvalid("batch.msgpack_rows", f"is no msgpack: {error}") from error
    if not isinstance(rows, list):
        raise RequestInvalid("batch.msgpack_rows", "must be an array of records")
    for row in rows:
        if isinstance(row, list) and _ROW_FIELDS <= len(row) <= _ROW_FIELDS + 2:
            yield Row(*row)
        else:
            yield RecordInvalid("RECORD_MALFORMED", f"a record is an array of {_ROW_FIELDS} fields, or one or two more")
