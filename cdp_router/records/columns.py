"""Arrow columns to one batch: vectorised, without a Python object per record."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.contract.arrow_streams import VALUES, is_values
from cdp_router.errors import RecordInvalid, RequestInvalid, RequestTooLarge
from cdp_router.identity.batch_links import joined
from cdp_router.limits import COLUMNS_MAX
from cdp_router.records.blocked_texts import which_blocked
from cdp_router.records.blocklist import Blocked
from cdp_router.records.column_checks import FIELD, Checks, bools_of, combined, is_string
from cdp_router.records.column_texts import Readable, readable, written_out_bytes
from cdp_router.records.columnarised import Columnarised, RecordErrors
from cdp_router.records.identity_columns import PREFIX, GivenTogether, choose
from cdp_router.records.ipc_sizes import check_stream, plain_bytes_max
from cdp_router.records.validation import check_text
from cdp_router.records.value_columns import (
    ValueColumn,
    check_sizes,
    check_type,
    milliseconds,
    named_columns,
    strings_of,
    triples_of,
    value_columns,
)
from cdp_store.arrays import I64, U16, U32, Bools
from cdp_store.identity.identity_changes import Links
from cdp_store.ids import ANONYMOUS_ID, USER_ID, is_identifier_kind, rank_of_kind
from cdp_store.limits import FUTURE_SKEW_MS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records import rules
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.records.rules import TextRules
from cdp_store.values import to_datetime

_VALUES_PER_STEP: Final = 1 << 18
_RESERVED: Final = (USER_ID, ANONYMOUS_ID, "time", "event", "message_id")


def columnarise_arrow(
    stream: bytes, batch_id: bytes, now_ms: int, blocked: Blocked
) -> Generator[None, None, Columnarised]:
    """The records of Arrow columns, in steps; RequestInvalid if the stream cannot be used at all."""
    check_stream(stream)
    read = _read(stream)
    yield
    table = read.table
    checks = Checks(table.num_rows)
    identities, record_identities, together = _identities(table, checks, blocked)
    names, record_names = _names(table, checks)
    times = _times(table, checks, now_ms)
    message_ids = _message_ids(table, checks)
    yield
    columns = list[tuple[str, ValueColumn]]()
    for found in _values(table, record_names, checks):
        columns += found
        yield
    check_sizes(columns, checks)
    keys = tuple(dict.fromkeys(name for name, _ in columns))
    offsets, triple_keys, kinds, raws, strings = triples_of(columns, keys, table.num_rows)
    whole = RecordBatch(
        batch_id,
        now_ms,
        identities,
        record_identities,
        record_names,
        times,
        offsets,
        message_ids,
        triple_keys,
        kinds,
        raws,
        strings,
        names,
        keys,
    )
    yield
    positions = np.flatnonzero(checks.keep)
    batch = whole if checks.keep.all() else whole.take(positions)
    links = joined(_links(each, checks.keep, times, message_ids) for each in together)
    errors = _errors(read, checks)
    return Columnarised(batch, read.positions[positions], errors.told, links, errors.omitted)


def _errors(read: Readable, checks: Checks) -> RecordErrors:
    """The first rejected records, by their position in the stream."""
    errors, own = RecordErrors(), [(int(read.positions[at]), reason) for at, reason in checks.invalid()]
    for index, reason in sorted((*own, *read.rejected.invalid()), key=lambda each: each[0]):
        errors.add(index, reason)
    errors.omitted = checks.invalid_count + read.rejected.invalid_count - len(errors.told)
    return errors


def _values(table: pa.Table, record_names: U16, checks: Checks) -> Iterator[list[tuple[str, ValueColumn]]]:
    """The columns of values, a few at a time."""
    found, values = list[tuple[str, ValueColumn]](), 0
    for name in table.column_names:
        if not _holds_values(table.schema.field(name)):
            continue
        found += [(name, column) for column in value_columns(name, table.column(name).combine_chunks(), checks)]
        values += table.num_rows
        if values >= _VALUES_PER_STEP:
            yield found
            found, values = [], 0
    yield found
    if VALUES in table.column_names and is_values(table.schema.field(VALUES)):
        yield list(named_columns(combined(table.column(VALUES)), record_names == ATTRIBUTES, checks))


def _holds_values(field: pa.Field) -> bool:
    return field.name not in _RESERVED and not field.name.startswith(PREFIX) and not is_values(field)


def _links(together: GivenTogether, keep: Bools, times: I64, message_ids: Strings) -> Links:
    kept = np.flatnonzero(keep[together.records])
    records, at = together.records[kept], pa.array(kept)
    ids = message_ids.take(records.astype(np.uint32))
    return Links(strings_of(together.lower.take(at)), strings_of(together.upper.take(at)), times[records], ids)


def _read(stream: bytes) -> Readable:
    try:
        with pa.ipc.open_stream(stream) as reader:
            _check_schema(reader.schema)
            table = reader.read_all()
        table.validate()
        table = table.unify_dictionaries()
        read = readable(table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RequestInvalid(FIELD, f"is not an Arrow IPC stream: {error}") from error
    limit = plain_bytes_max(len(stream))
    if (size := sum(_written_out(read.table, name) for name in read.table.column_names)) > limit:
        raise RequestTooLarge(
            FIELD, f"its dictionaries stand for {size} bytes of texts; for its size the limit is {limit}"
        )
    return read


def _check_schema(schema: pa.Schema) -> None:
    """Raises RequestInvalid for columns that no record can have, before any of them is read."""
    if len(schema) > COLUMNS_MAX:
        raise RequestInvalid(FIELD, f"has {len(schema)} columns; the limit is {COLUMNS_MAX}")
    if len(set(schema.names)) != len(schema):
        raise RequestInvalid(FIELD, "has two columns of one name")
    for field in schema:
        try:
            check_text(rules.PROPERTY_NAME, field.name, "column name")
        except RecordInvalid as error:
            raise RequestInvalid(FIELD, error.message) from error
        if _holds_values(field):
            check_type(field.name, field.type)


def _written_out(table: pa.Table, name: str) -> int:
    """Bytes of the texts of a column that are written out for each record when it is read."""
    field = table.schema.field(name)
    if pa.types.is_dictionary(field.type) and _holds_values(field):
        return sum(written_out_bytes(chunk.dictionary) for chunk in table.column(name).chunks)
    return sum(written_out_bytes(chunk) for chunk in table.column(name).chunks)


def _text_column(table: pa.Table, name: str) -> pa.Array | None:
    if name not in table.column_names:
        return None
    column = combined(table.column(name))
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_null(kind):
        return None
    if not is_string(kind):
        raise RequestInvalid(FIELD, f"column {name!r} has type {column.type}; it must hold strings")
    return (column.dictionary_decode() if kind is not column.type else column).cast(pa.large_string())


def _identities(table: pa.Table, checks: Checks, blocked: Blocked) -> tuple[Strings, U32, list[GivenTogether]]:
    others = [name.removeprefix(PREFIX) for name in table.column_names if name.startswith(PREFIX)]
    for kind in others:
        if not is_identifier_kind(kind):
            raise RequestInvalid(FIELD, f"column {PREFIX + kind!r}: {rules.IDENTIFIER_KIND.said(kind=kind)}")
    names = {USER_ID: USER_ID, ANONYMOUS_ID: ANONYMOUS_ID} | {kind: PREFIX + kind for kind in others}
    found = [(kind, _text_column(table, names[kind])) for kind in sorted(names, key=rank_of_kind)]
    columns = [(kind, column) for kind, column in found if column is not None]
    if not columns:
        raise RequestInvalid(FIELD, "needs a column user_id, anonymous_id or identifiers.<kind>")
    for kind, column in columns:
        _check_lengths(rules.IDENTIFIER, kind, column, checks)
    chosen = choose(columns, lambda texts: which_blocked(strings_of(texts), blocked))
    checks.reject(chosen.only_blocked, RecordInvalid.of(rules.IDENTIFIER_BLOCKED))
    checks.reject(bools_of(pc.is_null(chosen.identifiers)), RecordInvalid.of(rules.IDENTIFIER_MISSING))
    encoded = pc.fill_null(chosen.identifiers, "u-").dictionary_encode()
    return strings_of(encoded.dictionary), encoded.indices.to_numpy().astype(np.uint32), chosen.together


def _times(table: pa.Table, checks: Checks, now_ms: int) -> I64:
    if "time" not in table.column_names:
        raise RequestInvalid(FIELD, "needs a column time")
    column = combined(table.column("time"))
    checks.reject(bools_of(pc.is_null(column)), RecordInvalid.of(rules.TIME_GIVEN))
    times = milliseconds("time", column)
    ahead = times > now_ms + FUTURE_SKEW_MS
    beyond = (times < TIME_MIN_MS) | (times > TIME_MAX_MS)
    checks.reject(beyond, RecordInvalid.of(rules.TIME_YEARS, what="time"))
    checks.reject(ahead, lambda at: RecordInvalid.of(rules.TIME_AHEAD, when=to_datetime(int(times[at])).isoformat()))
    return times


def _names(table: pa.Table, checks: Checks) -> tuple[tuple[str, ...], U16]:
    column = _text_column(table, "event")
    if column is None:
        return (), np.full(table.num_rows, ATTRIBUTES, np.uint16)
    encoded = column.dictionary_encode()
    if len(encoded.dictionary) >= ATTRIBUTES:
        raise RequestInvalid(FIELD, f"column 'event' holds {len(encoded.dictionary)} different names")
    names = encoded.dictionary.to_pylist()
    numbers = pc.fill_null(encoded.indices, ATTRIBUTES).to_numpy(zero_copy_only=False).astype(np.uint16)
    problems = dict[int, RecordInvalid]()
    for number, name in enumerate(names):
        try:
            check_text(rules.EVENT_NAME, name)
        except RecordInvalid as error:
            problems[number] = error
    checks.reject_each(np.arange(table.num_rows), numbers.astype(np.int64), problems)
    return tuple(names), numbers


def _message_ids(table: pa.Table, checks: Checks) -> Strings:
    column = _text_column(table, "message_id")
    if column is None:
        return Strings(np.zeros(table.num_rows + 1, np.uint32), np.zeros(0, np.uint8))
    _check_lengths(rules.MESSAGE_ID, "message_id", column, checks)
    return strings_of(pc.fill_null(column, ""))


def _check_lengths(text_rules: TextRules, what: str, column: pa.Array, checks: Checks) -> None:
    longer = bools_of(pc.fill_null(pc.greater(pc.binary_length(column), text_rules.limit), False))
    rule = text_rules.length
    checks.reject(longer, lambda at: RecordInvalid.of(rule, what=what, start=column[at].as_py()[:40]))
