"""Arrow columns to one batch: vectorised, without a Python object per record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.blocking import Blocked
from cdp_router.distinct_lists import distinct_lists
from cdp_router.errors import RequestInvalid
from cdp_router.identity_columns import PREFIX, GivenTogether, choose
from cdp_router.linking import joined
from cdp_router.named_values import named_values
from cdp_router.validation import RecordInvalid, check_text, check_value, value_size
from cdp_router.wire.tables import VALUES, is_values
from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.identity.changes import Links
from cdp_store.ids import ANONYMOUS_ID, USER_ID, is_identifier_kind, rank_of_kind
from cdp_store.limits import (
    FUTURE_SKEW_MS,
    IDENTIFIER_BYTES_MAX,
    MESSAGE_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    PROPERTIES_PER_RECORD_MAX,
    RECORD_BYTES_MAX,
    STRING_BYTES_MAX,
    TIME_MAX_MS,
    TIME_MIN_MS,
)
from cdp_store.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.values import Kind, pack_list

_FIELD: Final = "batch.arrow_columns"
_PER_MILLISECOND: Final = {"ms": 1, "us": 1000, "ns": 1_000_000}
_EMPTY: Final = pa.scalar("", pa.large_string())
_SCALAR_BYTES: Final = 8
_NO_LIST: Final = object()
_RESERVED: Final = (USER_ID, ANONYMOUS_ID, "time", "event", "message_id")

Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
Invalid = list[tuple[int, RecordInvalid]]


@dataclass(frozen=True, slots=True)
class _Column:
    """One property column: where it has a value, of which kind, raw (strings: number in `strings`), bytes."""

    records: Positions
    kind: Kind
    raws: I64
    strings: pa.Array | None
    sizes: I64


class _Checks:
    """Collects which records are out, with the first reason of each."""

    def __init__(self, count: int) -> None:
        self._reasons = dict[int, RecordInvalid]()
        self.keep: Bools = np.ones(count, np.bool_)

    def reject(self, bad: Bools, code: str, message: str) -> None:
        """Take out the records with `bad`."""
        for index in np.flatnonzero(bad & self.keep):
            self._reasons[int(index)] = RecordInvalid(code, message)
        self.keep &= ~bad

    def invalid(self) -> Invalid:
        """Position and reason of each record taken out, by position."""
        return sorted(self._reasons.items())


@dataclass(frozen=True, slots=True)
class ArrowRecords:
    """The batch of Arrow columns, the position each record had, invalid records, identifiers given together."""

    batch: RecordBatch
    positions: Positions
    invalid: Invalid
    links: Links


def columnarise_arrow(stream: bytes, batch_id: bytes, now_ms: int, blocked: Blocked | None = None) -> ArrowRecords:
    """The records of Arrow columns; RequestInvalid when the stream cannot be used at all."""
    table = _read(stream)
    checks = _Checks(table.num_rows)
    identities, record_identities, together = _identities(table, checks, blocked or Blocked())
    names, record_names = _names(table, checks)
    times = _times(table, checks, now_ms)
    message_ids = _message_ids(table, checks)
    columns = [
        (name, column)
        for name in table.column_names
        if name not in _RESERVED and not name.startswith(PREFIX) and not is_values(table.schema.field(name))
        for column in _columns(name, table.column(name).combine_chunks(), checks)
    ]
    if VALUES in table.column_names and is_values(table.schema.field(VALUES)):
        columns += _named_columns(_combined(table.column(VALUES)), record_names == ATTRIBUTES, checks)
    _check_sizes(columns, checks)
    keys = tuple(dict.fromkeys(name for name, _ in columns))
    offsets, triple_keys, kinds, raws, strings = _triples(columns, keys, table.num_rows)
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
    positions = np.flatnonzero(checks.keep)
    batch = whole if checks.keep.all() else whole.take(positions)
    links = joined(_links(each, checks.keep, times, message_ids) for each in together)
    return ArrowRecords(batch, positions, checks.invalid(), links)


def _links(together: GivenTogether, keep: Bools, times: I64, message_ids: Strings) -> Links:
    kept = np.flatnonzero(keep[together.records])
    records, at = together.records[kept], pa.array(kept)
    ids = message_ids.take(records.astype(np.uint32))
    return Links(_strings(together.lower.take(at)), _strings(together.upper.take(at)), times[records], ids)


def _read(stream: bytes) -> pa.Table:
    try:
        with pa.ipc.open_stream(stream) as reader:
            table = reader.read_all().unify_dictionaries()
        table.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowException, OSError, ValueError) as error:
        raise RequestInvalid(_FIELD, f"is no Arrow IPC stream: {error}") from error
    if len(set(table.column_names)) != table.num_columns:
        raise RequestInvalid(_FIELD, "has two columns of one name")
    for name in table.column_names:
        try:
            check_text("column name", name, NAME_BYTES_MAX, "PROPERTY_NAME_INVALID")
        except RecordInvalid as error:
            raise RequestInvalid(_FIELD, error.message) from error
    return table


def _text_column(table: pa.Table, name: str) -> pa.Array | None:
    if name not in table.column_names:
        return None
    column = _combined(table.column(name))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return None
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise RequestInvalid(_FIELD, f"column {name!r} has type {column.type}; it must hold strings")
    return column.cast(pa.large_string())


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], column.type)
    return combined


def _identities(table: pa.Table, checks: _Checks, blocked: Blocked) -> tuple[Strings, U32, list[GivenTogether]]:
    others = [name.removeprefix(PREFIX) for name in table.column_names if name.startswith(PREFIX)]
    for kind in others:
        if not is_identifier_kind(kind):
            raise RequestInvalid(_FIELD, f"column {PREFIX + kind!r} names no kind of identifiers: a-z, 0-9 and _")
    names = {USER_ID: USER_ID, ANONYMOUS_ID: ANONYMOUS_ID} | {kind: PREFIX + kind for kind in others}
    found = [(kind, _text_column(table, names[kind])) for kind in sorted(names, key=rank_of_kind)]
    columns = [(kind, column) for kind, column in found if column is not None]
    if not columns:
        raise RequestInvalid(_FIELD, "needs a column user_id, anonymous_id or identifiers.<kind>")
    for kind, column in columns:
        problem = f"the {kind} is longer than {IDENTIFIER_BYTES_MAX} bytes"
        checks.reject(_longer(column, IDENTIFIER_BYTES_MAX), "IDENTIFIER_INVALID", problem)
    chosen = choose(columns, blocked)
    problem = "its identifiers are values that name nobody, such as 0 or null"
    checks.reject(chosen.only_blocked, "IDENTIFIER_BLOCKED", problem)
    problem = "a record needs a user_id, an anonymous_id or another identifier"
    checks.reject(_bools(pc.is_null(chosen.identifiers)), "IDENTIFIER_MISSING", problem)
    encoded = pc.fill_null(chosen.identifiers, "u-").dictionary_encode()
    return _strings(encoded.dictionary), encoded.indices.to_numpy().astype(np.uint32), chosen.together


def _times(table: pa.Table, checks: _Checks, now_ms: int) -> I64:
    if "time" not in table.column_names:
        raise RequestInvalid(_FIELD, "needs a column time")
    column = _combined(table.column("time"))
    checks.reject(_bools(pc.is_null(column)), "TIME_INVALID", "time must be given")
    times = _milliseconds("time", column)
    ahead = times > now_ms + FUTURE_SKEW_MS
    beyond = (times < TIME_MIN_MS) | (times > TIME_MAX_MS)
    checks.reject(beyond, "TIME_INVALID", "time is not between the years 1 and 9999; is its unit right?")
    checks.reject(ahead, "TIME_IN_FUTURE", "time is more than 24 hours ahead of the server's clock")
    return times


def _milliseconds(name: str, column: pa.Array) -> I64:
    """Epoch milliseconds, rounded down; what lies beyond the years 1 to 9999 comes out beyond them too."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    unit = column.type.unit if pa.types.is_timestamp(column.type) else "ms"
    if not (pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type)):
        raise RequestInvalid(_FIELD, f"column {name!r} has type {column.type}; it must hold times")
    counted: I64 = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    if unit == "s":
        return np.clip(counted, TIME_MIN_MS // 1000 - 1, TIME_MAX_MS // 1000 + 1) * 1000
    return counted // _PER_MILLISECOND[unit]


def _names(table: pa.Table, checks: _Checks) -> tuple[tuple[str, ...], U16]:
    column = _text_column(table, "event")
    if column is None:
        return (), np.full(table.num_rows, ATTRIBUTES, np.uint16)
    encoded = column.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if len(names) >= ATTRIBUTES:
        raise RequestInvalid(_FIELD, f"column 'event' holds {len(names)} different names")
    numbers = pc.fill_null(encoded.indices, ATTRIBUTES).to_numpy(zero_copy_only=False).astype(np.uint16)
    for number, name in enumerate(names):
        try:
            check_text("event name", name, NAME_BYTES_MAX, "EVENT_NAME_INVALID")
        except RecordInvalid as error:
            checks.reject(numbers == number, error.code, error.message)
    return tuple(names), numbers


def _message_ids(table: pa.Table, checks: _Checks) -> Strings:
    column = _text_column(table, "message_id")
    if column is None:
        return Strings(np.zeros(table.num_rows + 1, np.uint32), np.zeros(0, np.uint8))
    checks.reject(
        _longer(column, MESSAGE_ID_BYTES_MAX),
        "MESSAGE_ID_INVALID",
        f"message_id is longer than {MESSAGE_ID_BYTES_MAX} bytes",
    )
    return _strings(pc.fill_null(column, ""))


def _columns(name: str, column: pa.Array | pa.ChunkedArray, checks: _Checks) -> Iterator[_Column]:
    try:
        if isinstance(column, pa.ChunkedArray):
            column = _combined(column)
        if pa.types.is_struct(column.type):
            raise RequestInvalid(_FIELD, f"column {name!r} is a struct; give its fields as columns {name}.<field>")
        if pa.types.is_null(column.type):
            return
        kind = _kind_of(name, column.type)
        if pa.types.is_dictionary(column.type) and (kind is not Kind.STRING or column.dictionary.null_count):
            column = column.dictionary_decode()
        records = np.flatnonzero(_bools(pc.is_valid(column)))
        given = column.drop_null()
        if len(given):
            yield _typed_column(name, kind, given, records, checks)
    except pa.ArrowException as error:
        raise RequestInvalid(_FIELD, f"column {name!r} of type {column.type} cannot be used: {error}") from error


def _named_columns(column: pa.Array, is_attributes: Bools, checks: _Checks) -> Iterator[tuple[str, _Column]]:
    """The values of a column of named ones; an event has none where it says that one is removed."""
    found = named_values(column)
    _reject_at(checks, found.ambiguous, "PROPERTY_NAME_INVALID", "a property is there twice")
    for each in found.columns:
        try:
            check_text("property name", each.name, NAME_BYTES_MAX, "PROPERTY_NAME_INVALID")
        except RecordInvalid as error:
            _reject_at(checks, each.records, error.code, error.message)
            continue
        if each.values is None:
            records = each.records[is_attributes[each.records]]
            nothing: I64 = np.zeros(records.shape[0], np.int64)
            yield each.name, _Column(records, Kind.UNSET, nothing, None, nothing)
        elif each.is_list:
            yield each.name, _json_lists(each.name, each.values, each.records, checks)
        else:
            kind = _kind_of(each.name, each.values.type)
            yield each.name, _typed_column(each.name, kind, each.values, each.records, checks)


def _typed_column(name: str, kind: Kind, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    sizes: I64 = np.full(len(given), _SCALAR_BYTES, np.int64)
    match kind:
        case Kind.BOOL:
            return _Column(records, kind, _bools(given).astype(np.int64), None, sizes)
        case Kind.INT:
            return _Column(records, kind, _integers(name, given), None, sizes)
        case Kind.TIME:
            times = _milliseconds(name, given)
            beyond = records[(times < TIME_MIN_MS) | (times > TIME_MAX_MS)]
            _reject_at(checks, beyond, "TIME_INVALID", f"{name!r} is not between the years 1 and 9999")
            return _Column(records, kind, times, None, sizes)
        case Kind.FLOAT:
            floats = given.cast(pa.float64()).to_numpy(zero_copy_only=False)
            problem = f"{name!r} is no finite number; send null or leave it out"
            _reject_at(checks, records[~np.isfinite(floats)], "NUMBER_NOT_FINITE", problem)
            return _Column(records, kind, np.ascontiguousarray(floats).view(np.int64), None, sizes)
        case Kind.STRING:
            return _string_column(name, given, records, checks)
    return _list_column(name, given, records, checks)


def _string_column(name: str, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    encoded = given if pa.types.is_dictionary(given.type) else given.dictionary_encode()
    texts = encoded.dictionary.cast(pa.large_string())
    codes: I64 = encoded.indices.to_numpy().astype(np.int64)
    sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)[codes]
    problem = f"{name!r} is longer than {STRING_BYTES_MAX} bytes"
    _reject_at(checks, records[sizes > STRING_BYTES_MAX], "STRING_TOO_LONG", problem)
    return _Column(records, Kind.STRING, codes, texts, sizes)


def _list_column(name: str, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    """Lists are few different ones in practice: each distinct one is checked and packed once."""
    numbers, firsts = distinct_lists(given)
    distinct = _plain_lists(given.take(pa.array(firsts))).to_pylist()
    return _packed_lists(name, distinct, numbers, records, checks)


def _json_lists(name: str, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    """Lists as JSON; what is no JSON list is rejected."""
    encoded = given.dictionary_encode()
    distinct = list[Any]()
    for text in encoded.dictionary.to_pylist():
        try:
            distinct.append(msgspec.json.decode(text, type=list))
        except (msgspec.DecodeError, RecursionError):
            distinct.append(_NO_LIST)
    numbers: I64 = encoded.indices.to_numpy().astype(np.int64)
    return _packed_lists(name, distinct, numbers, records, checks)


def _packed_lists(name: str, distinct: list[Any], numbers: I64, records: Positions, checks: _Checks) -> _Column:
    packed, sizes, problems = list[bytes](), list[int](), dict[int, RecordInvalid]()
    for number, items in enumerate(distinct):
        try:
            if items is _NO_LIST:
                raise RecordInvalid("VALUE_UNUSABLE", f"{name!r} holds no JSON list")
            checked = check_value(name, items)
        except RecordInvalid as problem:
            problems[number], checked = problem, []
        packed.append(pack_list(checked))
        sizes.append(value_size(checked))
    for wrong, error in problems.items():
        _reject_at(checks, records[numbers == wrong], error.code, error.message)
    texts = pa.array(packed, pa.large_binary())
    return _Column(records, Kind.LIST, numbers, texts, np.array(sizes, np.int64)[numbers])


def _plain_lists(given: pa.Array) -> pa.Array:
    """Lists whose items become plain Python values: instants in UTC instead of dates, floats instead of decimals."""
    item = given.type.value_type
    if pa.types.is_timestamp(item) or pa.types.is_date(item):
        return given.cast(pa.large_list(pa.timestamp("ms", "UTC")), safe=False)
    if pa.types.is_decimal(item):
        return given.cast(pa.large_list(pa.float64()))
    return given


def _check_sizes(columns: list[tuple[str, _Column]], checks: _Checks) -> None:
    """The limits of a whole record: how many properties, how many bytes."""
    counts: I64 = np.zeros(checks.keep.shape[0], np.int64)
    sizes: I64 = np.zeros(checks.keep.shape[0], np.int64)
    for name, column in columns:
        counts[column.records] += 1
        sizes[column.records] += column.sizes + len(name.encode())
    problem = f"a record may have {PROPERTIES_PER_RECORD_MAX} properties"
    checks.reject(counts > PROPERTIES_PER_RECORD_MAX, "TOO_MANY_PROPERTIES", problem)
    checks.reject(sizes > RECORD_BYTES_MAX, "RECORD_TOO_LARGE", f"a record may have {RECORD_BYTES_MAX} bytes")


def _reject_at(checks: _Checks, records: Positions, code: str, message: str) -> None:
    if records.size:
        bad: Bools = np.zeros(checks.keep.shape[0], np.bool_)
        bad[records] = True
        checks.reject(bad, code, message)


def _kind_of(name: str, kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return Kind.BOOL
    if pa.types.is_integer(kind):
        return Kind.INT
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.FLOAT
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Kind.STRING
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Kind.TIME
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = _kind_of(name, kind.value_type)
        if item is not Kind.LIST:
            return Kind.LIST
    raise RequestInvalid(_FIELD, f"column {name!r} has type {kind}, which cannot be stored")


def _integers(name: str, given: pa.Array) -> I64:
    try:
        integers: I64 = given.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise RequestInvalid(_FIELD, f"column {name!r} holds integers beyond 64 bits: {error}") from error
    return integers


def _triples(
    columns: list[tuple[str, _Column]], keys: tuple[str, ...], count: int
) -> tuple[U32, U16, U8, I64, Strings]:
    per_record = np.zeros(count, np.int64)
    for _, column in columns:
        per_record[column.records] += 1
    offsets: U32 = np.zeros(count + 1, np.uint32)
    np.cumsum(per_record, out=offsets[1:])
    total = int(offsets[-1])
    triple_keys: U16 = np.empty(total, np.uint16)
    kinds: U8 = np.empty(total, np.uint8)
    raws: I64 = np.empty(total, np.int64)
    free = offsets[:-1].astype(np.int64)
    texts, text_count = list[pa.Array](), 0
    number = {key: index for index, key in enumerate(keys)}
    for name, column in columns:
        where = free[column.records]
        free[column.records] += 1
        triple_keys[where], kinds[where] = number[name], column.kind
        raws[where] = column.raws
        if column.strings is not None:
            raws[where] += text_count
            text_count += len(column.strings)
            texts.append(column.strings.cast(pa.large_binary()))
    return (
        offsets,
        triple_keys,
        kinds,
        raws,
        _strings(pa.concat_arrays(texts) if texts else pa.array([], pa.large_binary())),
    )


def _strings(column: pa.Array) -> Strings:
    binary = column.cast(pa.large_binary())
    _, offsets_buffer, data_buffer = binary.buffers()
    if len(binary) == 0:
        return Strings(np.zeros(1, np.uint32), np.zeros(0, np.uint8))
    offsets = np.frombuffer(offsets_buffer, np.int64, len(binary) + 1, binary.offset * 8)
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return Strings((offsets - offsets[0]).astype(np.uint32), data[offsets[0] : offsets[-1]])


def _longer(column: pa.Array, limit: int) -> Bools:
    return _bools(pc.fill_null(pc.greater(pc.binary_length(column), limit), False))


def _bools(column: Any) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = column.to_numpy(zero_copy_only=False).astype(np.bool_)
    return flags
