"""Values of Arrow columns of every type as the Python values of records; unsupported values are reported one by one.

pyarrow's own conversion stops at the first value without a Python object. Here each value counts on its own: it comes
out as it is, or as `Unkept` with the reason. A list or map that contains one becomes `Unkept` as a whole.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cdp_router.importing.numbers import Unkept, as_text, decimal_of, integer_of
from cdp_router.importing.read_options import Reading
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import EPOCH

_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1000, "us": 1}
_DIGITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DAY_US: Final = 86_400_000_000
_EXTENSION: Final = b"ARROW:extension:name"

Values = list[Any]


@dataclass(frozen=True, slots=True)
class ArrowReader:
    """Converts the columns of a file."""

    reading: Reading

    def values(self, path: str, column: pa.Array, field: pa.Field | None = None) -> Values:
        """The values of a column or of its content; `path` is its name in options."""
        known = _extension(column, field)
        if known is not None:
            column, convert = self._of_extension(known, column)
            found = convert(path, column)
        else:
            found = self._plain(path, column)
        return [as_text(value) for value in found] if self.reading.is_text(path) else found

    def _of_extension(self, name: str, column: pa.Array) -> tuple[pa.Array, Callable[[str, pa.Array], Values]]:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        match name:
            case "arrow.uuid":
                return column, lambda _, array: [_uuid(value) for value in array.to_pylist()]
            case "arrow.bool8":
                return column, lambda _, array: [None if each is None else bool(each) for each in array.to_pylist()]
            case "arrow.json":
                return column, self._plain
        reason = f"type {name} is not supported; write the column as another type, or leave it out with --skip"
        return column, lambda _, array: [Unkept("", reason) if valid else None for valid in _valid(array)]

    def _plain(self, path: str, column: pa.Array) -> Values:
        kind = column.type
        if pa.types.is_dictionary(kind):
            return _taken(self.values(path, column.dictionary), column.indices.to_pylist())
        if pa.types.is_run_end_encoded(kind):
            ends = np.asarray(column.run_ends.to_numpy(zero_copy_only=False))
            at = np.searchsorted(ends, np.arange(column.offset, column.offset + len(column)), side="right")
            return _taken(self.values(path, column.values), at.tolist())
        if pa.types.is_struct(kind):
            return self._structs(path, column)
        if pa.types.is_map(kind):
            return self._maps(path, column)
        if _is_list(kind):
            return self._lists(path, column)
        return self._scalars(column)

    def _scalars(self, column: pa.Array) -> Values:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return _texts(column)
        if _is_binary(kind):
            return [value if value is None else self._binary(value) for value in column.to_pylist()]
        if pa.types.is_uint64(kind):
            return [value if value is None else integer_of(value) for value in column.to_pylist()]
        if pa.types.is_decimal(kind):
            return [value if value is None else _decimal(value, kind) for value in column.to_pylist()]
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return [_instant(each, kind) for each in _counts(column)]
        if pa.types.is_time(kind):
            return [_time_of_day(each, kind.unit) for each in _counts(column)]
        if pa.types.is_duration(kind):
            return [_duration(each, kind.unit) for each in _counts(column)]
        if pa.types.is_null(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
            values: Values = column.to_pylist()
            return values
        if pa.types.is_floating(kind):
            return [None if value is None else float(value) for value in column.to_pylist()]
        reason = f"type {kind} is not supported; write the column as another type, or leave it out with --skip"
        return [Unkept("", reason) if valid else None for valid in _valid(column)]

    def _binary(self, value: bytes) -> Any:
        match self.reading.binary:
            case "text":
                return _decoded(value)
            case "hex":
                return value.hex()
            case "base64":
                return base64.b64encode(value).decode()
        return Unkept("", "it holds bytes; say what they mean with --binary text, hex or base64")

    def _structs(self, path: str, column: pa.Array) -> Values:
        names = [field.name for field in column.type]
        if len(set(names)) != len(names):
            return [Unkept("", "two fields have one name") if valid else None for valid in _valid(column)]
        children = [
            self.values(f"{path}.{field.name}", child, field)
            for field, child in zip(column.type, column.flatten(), strict=True)
            if f"{path}.{field.name}" not in self.reading.skip
        ]
        names = [name for name in names if f"{path}.{name}" not in self.reading.skip]
        keeps_nulls = self.reading.nulls == "unset"
        found: Values = []
        for number, valid in enumerate(_valid(column)):
            fields = [(name, child[number]) for name, child in zip(names, children, strict=True)]
            given = {name: value for name, value in fields if keeps_nulls or value is not None}
            found.append(_whole(given if keeps_nulls else Sparse(given), fields) if valid else None)
        return found

    def _lists(self, path: str, column: pa.Array) -> Values:
        bounds, first, last = _bounds(column)
        items = self.values(path, column.values.slice(first, last - first), column.type.value_field)
        return [None if each is None else _list(items[slice(*each)]) for each in bounds]

    def _maps(self, path: str, column: pa.Array) -> Values:
        bounds, first, last = _bounds(column)
        kind, length = column.type, last - first
        keys = self.values(f"{path}.key", column.keys.slice(first, length), kind.key_field)
        items = self.values(path, column.items.slice(first, length), kind.item_field)
        names = [key if isinstance(key, Unkept) else as_text(key) for key in keys]
        fields = list(zip(names, items, strict=True))
        return [None if each is None else _map(fields[slice(*each)]) for each in bounds]


def _extension(column: pa.Array, field: pa.Field | None) -> str | None:
    """The name of an extension type, which differs from the type of its stored values."""
    if isinstance(column.type, pa.BaseExtensionType):
        return str(column.type.extension_name)
    metadata = field.metadata if field is not None else None
    return metadata[_EXTENSION].decode(errors="replace") if metadata and _EXTENSION in metadata else None


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _valid(column: pa.Array) -> list[bool]:
    valid: list[bool] = column.is_valid().to_pylist()
    return valid


def _taken(values: Values, at: Sequence[int | None]) -> Values:
    return [None if place is None else values[place] for place in at]


def _texts(column: pa.Array) -> Values:
    try:
        texts: Values = column.to_pylist()
    except UnicodeDecodeError:
        if pa.types.is_string_view(column.type):
            return [_text_at(column, number) for number in range(len(column))]
        kind = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        return [None if value is None else _decoded(value) for value in column.view(kind).to_pylist()]
    return texts


def _text_at(column: pa.Array, number: int) -> Any:
    value = column[number]
    return _decoded(value.as_buffer().to_pybytes()) if value.is_valid else None


def _decoded(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        shown = " ".join(f"0x{byte:02x}" for byte in value[error.start : error.end])
        return Unkept("", f"it holds bytes that are not UTF-8 ({shown})", code="TEXT_INVALID")


def _decimal(value: Any, kind: pa.DataType) -> Any:
    """Integers of a type without fractions, otherwise the float64 or integer equal to the number."""
    if kind.scale > 0:
        return decimal_of(value)
    return integer_of(int(value))


def _counts(column: pa.Array) -> Values:
    """Instants, times and durations as stored: counts of their unit."""
    kind = column.type
    is_narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    counts: Values = column.view(pa.int32() if is_narrow else pa.int64()).to_pylist()
    return counts


def _instant(count: int | None, kind: pa.DataType) -> Any:
    """An instant in UTC, to the microsecond, rounded down."""
    if count is None:
        return None
    if pa.types.is_date(kind):
        us = count * (_DAY_US if pa.types.is_date32(kind) else 1000)
    else:
        us = count // 1000 if kind.unit == "ns" else count * _MICROSECONDS[kind.unit]
    if TIME_MIN_MS <= us // 1000 <= TIME_MAX_MS:
        return EPOCH + timedelta(microseconds=us)
    reason = f"{count} ({kind}) is a time that is not between the years 1 and 9999"
    return Unkept(str(count), reason, code="TIME_INVALID")


def _time_of_day(count: int | None, unit: str) -> str | None:
    """The time of a day in ISO 8601, to the last digit."""
    if count is None:
        return None
    seconds, fraction = divmod(count, 10 ** _DIGITS[unit])
    minutes, second = divmod(seconds, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
    return f"{text}.{fraction:0{_DIGITS[unit]}}".rstrip("0") if fraction else text


def _duration(count: int | None, unit: str) -> str | None:
    """A length of time in ISO 8601, to the last digit."""
    if count is None:
        return None
    sign, whole = ("-", -count) if count < 0 else ("", count)
    seconds, fraction = divmod(whole, 10 ** _DIGITS[unit])
    digits = f".{fraction:0{_DIGITS[unit]}}".rstrip("0") if fraction else ""
    return f"{sign}PT{seconds}{digits}S"


def _uuid(value: bytes | None) -> str | None:
    if value is None:
        return None
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _bounds(column: pa.Array) -> tuple[list[tuple[int, int] | None], int, int]:
    """Bounds of the items of each list or map, relative to the first, None for null; and the end of the last."""
    kind, count = column.type, len(column)
    if pa.types.is_fixed_size_list(kind):
        starts = [(column.offset + number) * kind.list_size for number in range(count)]
        stops = [start + kind.list_size for start in starts]
    elif pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts = column.offsets.to_pylist()
        stops = [start + size for start, size in zip(starts, column.sizes.to_pylist(), strict=True)]
    else:
        offsets = column.offsets.to_pylist()
        starts, stops = offsets[:-1], offsets[1:]
    pairs = list(zip(starts, stops, _valid(column), strict=True))
    first = min((start for start, stop, valid in pairs if valid and stop > start), default=0)
    last = max((stop for start, stop, valid in pairs if valid and stop > start), default=first)
    return [(start - first, stop - first) if valid and stop > start else (0, 0) if valid else None
            for start, stop, valid in pairs], first, last  # fmt: skip


class Sparse(dict[str, Any]):
    """The fields of a struct that a row has; missing fields mean nothing, as every row must have all fields."""


def _whole(value: Any, fields: Sequence[tuple[str, Any]]) -> Any:
    """A struct or map, unless it contains a value that cannot be kept."""
    return next((_inside(name, each) for name, each in fields if isinstance(each, Unkept)), value)


def _inside(name: str, problem: Unkept) -> Unkept:
    return problem.inside(f"in {name!r}")


def _list(items: Values) -> Any:
    wrong = next((each for each in items if isinstance(each, Unkept)), None)
    return items if wrong is None else wrong.inside("in an item")


def _map(fields: Sequence[tuple[Any, Any]]) -> Any:
    names = [name for name, _ in fields]
    for name in names:
        if isinstance(name, Unkept):
            return name.inside("in a name")
        if not isinstance(name, str):
            return Unkept("", f"a name in a map must be text, not {name!r}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return Unkept("", f"the map holds {twice!r} twice")
    return _whole(dict(fields), fields)
