"""Values of Arrow columns, checked and converted to long form without a Python object per value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.contract.python_values import short_number
from cdp_router.errors import RecordInvalid, RequestInvalid
from cdp_router.importing.numbers import Unkept, decimal_of
from cdp_router.records.column_checks import FIELD, Checks, Positions, bools_of, combined, is_list, is_string
from cdp_router.records.decimal_columns import numbers_of
from cdp_router.records.distinct_lists import distinct_lists
from cdp_router.records.named_values import named_values
from cdp_router.records.validation import check_text, check_value, value_size
from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records import rules
from cdp_store.records.records import Strings
from cdp_store.values import Kind, pack_list

_PER_MILLISECOND: Final = {"ms": 1, "us": 1000, "ns": 1_000_000}
_SCALAR_BYTES: Final = 8
_NO_LIST: Final = object()


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """One property column: the records with a value, its kind, raw value (strings: number in `strings`), and bytes."""

    records: Positions
    kind: Kind
    raws: I64
    strings: pa.Array | None = None
    sizes: I64 | int = _SCALAR_BYTES


def check_type(name: str, kind: pa.DataType) -> None:
    """Raises RequestInvalid unless a column of this type can be stored."""
    if pa.types.is_struct(kind):
        raise RequestInvalid(FIELD, f"column {name!r} is a struct; give its fields as columns {name}.<field>")
    if not pa.types.is_null(kind):
        _kind_of(name, kind)


def value_columns(name: str, column: pa.Array | pa.ChunkedArray, checks: Checks) -> Iterator[ValueColumn]:
    """The values of a column, where it has any; RequestInvalid for a type that cannot be stored."""
    check_type(name, column.type)
    if pa.types.is_null(column.type):
        return
    try:
        if isinstance(column, pa.ChunkedArray):
            column = combined(column)
        kind = _kind_of(name, column.type)
        if pa.types.is_dictionary(column.type):
            yield from _coded_column(name, kind, column, checks)
            return
        records = np.flatnonzero(bools_of(pc.is_valid(column)))
        given = column.drop_null()
        if len(given):
            yield from _scalar_columns(name, kind, given, records, checks)
    except pa.ArrowException as error:
        raise RequestInvalid(FIELD, f"column {name!r} of type {column.type} cannot be used: {error}") from error


def _coded_column(name: str, kind: Kind, column: pa.DictionaryArray, checks: Checks) -> Iterator[ValueColumn]:
    """The values of a dictionary: texts and lists, which may be long, are not copied for each record."""
    valid = bools_of(pc.is_valid(column.indices))
    codes: I64 = pc.fill_null(column.indices, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if column.dictionary.null_count:
        valid[valid] = bools_of(pc.is_valid(column.dictionary))[codes[valid]]
    records = np.flatnonzero(valid)
    if not records.size:
        return
    used, numbers = np.unique(codes[records], return_inverse=True)
    values = column.dictionary.take(pa.array(used))
    match kind:
        case Kind.STRING:
            yield _numbered_texts(name, values, numbers.astype(np.int64), records, checks)
        case Kind.LIST:
            list_numbers, firsts = distinct_lists(values)
            yield _lists_of(name, values, list_numbers[numbers], firsts, records, checks)
        case _:
            yield from _scalar_columns(name, kind, values.take(pa.array(numbers)), records, checks)


def _scalar_columns(
    name: str, kind: Kind, given: pa.Array, records: Positions, checks: Checks
) -> Iterator[ValueColumn]:
    if not pa.types.is_decimal(given.type):
        yield _typed_column(name, kind, given, records, checks)
        return
    numbers = numbers_of(given)
    rule = rules.NUMBER_EXACT if given.type.scale > 0 else rules.INTEGER_BITS

    def unkept(at: int) -> RecordInvalid:
        return RecordInvalid.of(rule, name=name, value=short_number(given[_place(records, at)].as_py()))

    checks.reject_at(records[~(numbers.is_float | numbers.is_integer)], unkept)
    kinds = (
        (Kind.FLOAT, numbers.floats.view(np.int64), numbers.is_float),
        (Kind.INT, numbers.integers, numbers.is_integer),
    )
    for own_kind, raws, own in kinds:
        if own.any():
            yield ValueColumn(records[own], own_kind, raws[own])


def named_columns(column: pa.Array, is_attributes: Bools, checks: Checks) -> Iterator[tuple[str, ValueColumn]]:
    """The values of a column of named ones; for an event, a removed one means no value."""
    found = named_values(column)
    twice = {at: RecordInvalid.of(rules.PROPERTY_TWICE, name=name) for at, name in found.ambiguous.items()}
    checks.reject_at(np.array([*twice], np.intp), twice.__getitem__)
    for each in found.columns:
        try:
            check_text(rules.PROPERTY_NAME, each.name)
        except RecordInvalid as error:
            checks.reject_at(each.records, error)
            continue
        if each.values is None:
            records = each.records[is_attributes[each.records]]
            yield each.name, ValueColumn(records, Kind.UNSET, np.zeros(records.shape[0], np.int64), sizes=0)
        elif each.is_list:
            yield each.name, _json_lists(each.name, each.values, each.records, checks)
        else:
            kind = _kind_of(each.name, each.values.type)
            yield each.name, _typed_column(each.name, kind, each.values, each.records, checks)


def _typed_column(name: str, kind: Kind, given: pa.Array, records: Positions, checks: Checks) -> ValueColumn:
    match kind:
        case Kind.BOOL:
            return ValueColumn(records, kind, bools_of(given).astype(np.int64))
        case Kind.INT:
            return ValueColumn(records, kind, _integers(name, given))
        case Kind.TIME:
            times = milliseconds(name, given)
            beyond = records[(times < TIME_MIN_MS) | (times > TIME_MAX_MS)]
            checks.reject_at(beyond, RecordInvalid.of(rules.TIME_YEARS, what=repr(name)))
            return ValueColumn(records, kind, times)
        case Kind.FLOAT:
            floats = given.cast(pa.float64()).to_numpy(zero_copy_only=False)
            checks.reject_at(
                records[~np.isfinite(floats)],
                lambda at: RecordInvalid.of(rules.NUMBER_FINITE, name=name, value=float(floats[_place(records, at)])),
            )
            return ValueColumn(records, kind, np.ascontiguousarray(floats).view(np.int64))
        case Kind.STRING:
            encoded = given.dictionary_encode()
            codes: I64 = encoded.indices.to_numpy().astype(np.int64)
            return _numbered_texts(name, encoded.dictionary, codes, records, checks)
    return _lists_of(name, given, *distinct_lists(given), records, checks)


def _numbered_texts(name: str, texts: pa.Array, codes: I64, records: Positions, checks: Checks) -> ValueColumn:
    texts = texts.cast(pa.large_string())
    sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)[codes]
    longer = records[sizes > rules.STRING_LENGTH.limit]
    checks.reject_at(longer, RecordInvalid.of(rules.STRING_LENGTH, name=name))
    return ValueColumn(records, Kind.STRING, codes, texts, sizes)


def _lists_of(name: str, given: pa.Array, numbers: I64, firsts: I64, records: Positions, checks: Checks) -> ValueColumn:
    """Lists; in practice few are different: each distinct one is checked and packed once."""
    distinct = _plain_lists(given.take(pa.array(firsts))).to_pylist()
    if pa.types.is_decimal(given.type.value_type):
        scale = given.type.value_type.scale
        distinct = [[_plain_number(item, scale) for item in items] for items in distinct]
    return _packed_lists(name, distinct, numbers, records, checks)


def _json_lists(name: str, given: pa.Array, records: Positions, checks: Checks) -> ValueColumn:
    """Lists as JSON; text that is not a JSON list is rejected."""
    encoded = given.dictionary_encode()
    distinct = list[Any]()
    for text in encoded.dictionary.to_pylist():
        try:
            distinct.append(msgspec.json.decode(text, type=list))
        except (msgspec.DecodeError, RecursionError):
            distinct.append(_NO_LIST)
    numbers: I64 = encoded.indices.to_numpy().astype(np.int64)
    return _packed_lists(name, distinct, numbers, records, checks)


def _packed_lists(name: str, distinct: list[Any], numbers: I64, records: Positions, checks: Checks) -> ValueColumn:
    packed, sizes, problems = list[bytes](), list[int](), dict[int, RecordInvalid]()
    for number, items in enumerate(distinct):
        try:
            if items is _NO_LIST:
                raise RecordInvalid.of(rules.LIST_JSON, name=name)
            if any(isinstance(item, Unkept) for item in items):
                raise RecordInvalid.of(rules.NUMBER_EXACT, name=name)
            checked = check_value(name, items)
        except RecordInvalid as problem:
            problems[number], checked = problem, []
        packed.append(pack_list(checked))
        sizes.append(value_size(checked))
    checks.reject_each(records, numbers, problems)
    texts = pa.array(packed, pa.large_binary())
    return ValueColumn(records, Kind.LIST, numbers, texts, np.array(sizes, np.int64)[numbers])


def _plain_number(item: Decimal | None, scale: int) -> int | float | Unkept | None:
    """Value of a decimal in a list."""
    return None if item is None else int(item) if scale <= 0 else decimal_of(item)


def _plain_lists(given: pa.Array) -> pa.Array:
    """Lists whose items become plain Python values: instants in UTC instead of dates."""
    item = given.type.value_type
    if pa.types.is_timestamp(item) or pa.types.is_date(item):
        return given.cast(pa.large_list(pa.timestamp("ms", "UTC")), safe=False)
    return given


def check_sizes(columns: list[tuple[str, ValueColumn]], checks: Checks) -> None:
    """Checks the limits of a whole record: number of properties, bytes."""
    counts: I64 = np.zeros(checks.keep.shape[0], np.int64)
    sizes: I64 = np.zeros(checks.keep.shape[0], np.int64)
    for name, column in columns:
        counts[column.records] += 1
        sizes[column.records] += column.sizes + len(name.encode())
    count, size = rules.PROPERTY_COUNT, rules.RECORD_SIZE
    checks.reject(counts > count.limit, lambda at: RecordInvalid.of(count, count=counts[at]))
    checks.reject(sizes > size.limit, lambda at: RecordInvalid.of(size, size=sizes[at]))


def _place(records: Positions, at: int) -> int:
    """Place of a record among those with a value."""
    return int(np.searchsorted(records, at))


def _kind_of(name: str, kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return Kind.BOOL
    if pa.types.is_integer(kind):
        return Kind.INT
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.FLOAT
    if is_string(kind):
        return Kind.STRING
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Kind.TIME
    if is_list(kind):
        item = _kind_of(name, kind.value_type)
        if item is not Kind.LIST:
            return Kind.LIST
    raise RequestInvalid(FIELD, f"column {rules.VALUE_TYPE.said(name=name, type=kind)}")


def _integers(name: str, given: pa.Array) -> I64:
    try:
        integers: I64 = given.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise RequestInvalid(FIELD, f"column {name!r} holds integers beyond 64 bits: {error}") from error
    return integers


def triples_of(
    columns: list[tuple[str, ValueColumn]], keys: tuple[str, ...], count: int
) -> tuple[U32, U16, U8, I64, Strings]:
    """The columns in long form: property offsets u32[records + 1], keys u16, kinds u8, raws i64, and the strings."""
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
        strings_of(pa.concat_arrays(texts) if texts else pa.array([], pa.large_binary())),
    )


def strings_of(column: pa.Array) -> Strings:
    """A column of strings or bytes without nulls."""
    binary = column.cast(pa.large_binary())
    _, offsets_buffer, data_buffer = binary.buffers()
    if len(binary) == 0:
        return Strings(np.zeros(1, np.uint32), np.zeros(0, np.uint8))
    offsets = np.frombuffer(offsets_buffer, np.int64, len(binary) + 1, binary.offset * 8)
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return Strings((offsets - offsets[0]).astype(np.uint32), data[offsets[0] : offsets[-1]])


def milliseconds(name: str, column: pa.Array) -> I64:
    """Epoch milliseconds, rounded down; values beyond the years 1 to 9999 stay beyond them."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    unit = column.type.unit if pa.types.is_timestamp(column.type) else "ms"
    if not (pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type)):
        raise RequestInvalid(FIELD, f"column {name!r} has type {column.type}; it must hold times")
    counted: I64 = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    if unit == "s":
        return np.clip(counted, TIME_MIN_MS // 1000 - 1, TIME_MAX_MS // 1000 + 1) * 1000
    return counted // _PER_MILLISECOND[unit]
