"""Arrow columns to one batch: vectorised, without a Python object per record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.errors import RequestInvalid
from cdp_router.validation import RecordInvalid, check_text
from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.ids import ANONYMOUS_ID, USER_ID
from cdp_store.limits import (
    FUTURE_SKEW_MS,
    IDENTIFIER_BYTES_MAX,
    LIST_ITEMS_MAX,
    MESSAGE_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    STRING_BYTES_MAX,
    TIME_MIN_MS,
)
from cdp_store.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.values import Kind, pack_list

_FIELD: Final = "batch.arrow_columns"
_EMPTY: Final = pa.scalar("", pa.large_string())
_RESERVED: Final = (USER_ID, ANONYMOUS_ID, "time", "event", "message_id")

Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
Invalid = list[tuple[int, RecordInvalid]]


@dataclass(frozen=True, slots=True)
class _Column:
    """One property column: where it has a value, of which kind, raw (strings: number in `strings`)."""

    records: Positions
    kind: Kind
    raws: I64
    strings: pa.Array | None


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


def columnarise_arrow(stream: bytes, batch_id: bytes, now_ms: int) -> tuple[RecordBatch, Positions, Invalid]:
    """(batch, positions its records had, invalid records); RequestInvalid when the stream cannot be used at all."""
    table = _read(stream)
    checks = _Checks(table.num_rows)
    identities, record_identities = _identities(table, checks)
    times = _times(table, checks, now_ms)
    names, record_names = _names(table, checks)
    message_ids = _message_ids(table, checks)
    columns = [
        (name, column)
        for name in table.column_names
        if name not in _RESERVED
        for column in _columns(name, table.column(name).combine_chunks(), checks)
    ]
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
    return whole if checks.keep.all() else whole.take(positions), positions, checks.invalid()


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


def _identities(table: pa.Table, checks: _Checks) -> tuple[Strings, U32]:
    coded = list[pa.Array]()
    for kind, tag in ((USER_ID, "u"), (ANONYMOUS_ID, "a")):
        column = _text_column(table, kind)
        if column is not None:
            checks.reject(
                _longer(column, IDENTIFIER_BYTES_MAX),
                "IDENTIFIER_INVALID",
                f"{kind} is longer than {IDENTIFIER_BYTES_MAX} bytes",
            )
            filled = pc.if_else(pc.equal(column, _EMPTY), None, column)
            coded.append(pc.binary_join_element_wise(pa.scalar(tag, pa.large_string()), filled, _EMPTY))
    if not coded:
        raise RequestInvalid(_FIELD, "needs a column user_id or anonymous_id")
    chosen = pc.coalesce(*coded)
    checks.reject(_bools(pc.is_null(chosen)), "IDENTIFIER_MISSING", "a record needs a user_id or an anonymous_id")
    encoded = pc.fill_null(chosen, "u").dictionary_encode()
    return _strings(encoded.dictionary), encoded.indices.to_numpy().astype(np.uint32)


def _times(table: pa.Table, checks: _Checks, now_ms: int) -> I64:
    if "time" not in table.column_names:
        raise RequestInvalid(_FIELD, "needs a column time")
    column = _combined(table.column("time"))
    checks.reject(_bools(pc.is_null(column)), "TIME_INVALID", "time must be given")
    times = _milliseconds("time", column)
    ahead = times > now_ms + FUTURE_SKEW_MS
    checks.reject(times < TIME_MIN_MS, "TIME_INVALID", "time lies before the year 1; is its unit ms?")
    checks.reject(ahead, "TIME_IN_FUTURE", "time is more than 24 hours ahead of the server's clock")
    return times


def _milliseconds(name: str, column: pa.Array) -> I64:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    if not pa.types.is_integer(column.type):
        raise RequestInvalid(_FIELD, f"column {name!r} has type {column.type}; it must hold times")
    times: I64 = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return times


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
    if isinstance(column, pa.ChunkedArray):
        column = _combined(column)
    if pa.types.is_struct(column.type):
        raise RequestInvalid(_FIELD, f"column {name!r} is a struct; give its fields as columns {name}.<field>")
    records = np.flatnonzero(_bools(pc.is_valid(column)))
    given = column.drop_null()
    if not len(given):
        return
    yield _typed_column(name, given, records, checks)


def _typed_column(name: str, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    kind = _kind_of(name, given.type)
    match kind:
        case Kind.BOOL:
            return _Column(records, kind, _bools(given).astype(np.int64), None)
        case Kind.INT:
            return _Column(records, kind, _integers(name, given), None)
        case Kind.TIME:
            return _Column(records, kind, _milliseconds(name, given), None)
        case Kind.FLOAT:
            floats = given.cast(pa.float64()).to_numpy(zero_copy_only=False)
            _reject_at(
                checks,
                records[~np.isfinite(floats)],
                "NUMBER_NOT_FINITE",
                f"{name!r} is no finite number; send null or leave it out",
            )
            return _Column(records, kind, np.ascontiguousarray(floats).view(np.int64), None)
        case Kind.STRING:
            return _string_column(name, given, records, checks)
    return _list_column(name, given, records, checks)


def _string_column(name: str, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    encoded = given if pa.types.is_dictionary(given.type) else given.dictionary_encode()
    texts = encoded.dictionary.cast(pa.large_string())
    codes = encoded.indices.to_numpy().astype(np.int64)
    too_long = _longer(texts, STRING_BYTES_MAX)
    if too_long.any():
        _reject_at(
            checks, records[too_long[codes]], "STRING_TOO_LONG", f"{name!r} is longer than {STRING_BYTES_MAX} bytes"
        )
    return _Column(records, Kind.STRING, codes, texts)


def _list_column(name: str, given: pa.Array, records: Positions, checks: _Checks) -> _Column:
    sizes = pc.list_value_length(given).to_numpy(zero_copy_only=False)
    _reject_at(
        checks, records[sizes > LIST_ITEMS_MAX], "LIST_TOO_LONG", f"{name!r} has more than {LIST_ITEMS_MAX} items"
    )
    # Lists are few distinct values in practice; each distinct one is packed once.
    numbers, packed = np.empty(len(given), np.int64), dict[bytes, int]()
    for position, items in enumerate(given.to_pylist()):
        numbers[position] = packed.setdefault(pack_list(items), len(packed))
    return _Column(records, Kind.LIST, numbers, pa.array(list(packed), pa.large_binary()))


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
