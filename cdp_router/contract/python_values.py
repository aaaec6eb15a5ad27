"""Conversion of Python values to properties and attributes: one table for writers and messages.

| value | stored as |
|---|---|
| None, pandas.NA, NaT | null: no property, an attribute unset |
| bool, str, float, int of 64 bits | itself |
| Decimal | an integer where it is one of 64 bits, else a number where float64 shows the same digits |
| aware datetime, pandas.Timestamp | a time, rounded down to milliseconds |
| date | a time: its midnight in UTC |
| time of day, UUID | text |
| Enum | what its value becomes |
| numpy scalar | what its `item()` becomes |
| list, tuple, numpy array | a list; what a masked array masks is null |
| set, frozenset | a list, sorted, so that equal sets are equal lists |
| mapping, dataclass, msgspec.Struct | a map |

Everything else is refused with TypeError, a value of a right type that cannot be stored with ValueError: a datetime
without zone, NaN and infinities, integers beyond 64 bits, Decimals with more digits than a number holds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np

from cdp_store.limits import NESTING_DEPTH_MAX
from cdp_store.records import rules
from cdp_store.values import to_datetime, to_ms

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_DIGITS_MAX: Final = 19  # digits of an integer of 64 bits
_UNITS_OF_THEIR_OWN: Final = "mM"  # kinds of numpy's spans and dates
_PANDAS_MISSING: Final = ("NAType", "NaTType")
_LEVELS_MAX: Final = 10 * NESTING_DEPTH_MAX  # the cluster reports deeper ones itself, but a list may contain itself


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Properties or attributes as None, bool, int, float, str, aware datetime, list and dict.

    Raises TypeError for a value of an unsupported type and ValueError for one that cannot be stored, naming the
    property.
    """
    return {property_name(name): plain_value(name, value) for name, value in values.items()}


def plain_value(name: str, value: Any, level: int = 1) -> Any:
    """The same of one value; `name` is for messages."""
    kind = type(value)
    if kind is str or value is None or kind is bool or (kind is int and _INT_MIN <= value <= _INT_MAX):
        return value
    if level > _LEVELS_MAX:
        raise ValueError(rules.NESTING.said(name=name))
    match value:
        case Enum():
            return plain_value(name, value.value, level + 1)
        case np.generic():
            return _numpy_scalar(name, value)
        case int() | float() | Decimal():
            return _number(name, value)
        case str():
            return str.__str__(value)
        case date():  # datetimes are dates
            return _instant(name, value)
        case time() | UUID():
            return str(value)
    return _nested(name, value, level)


def _nested(name: str, value: Any, level: int) -> Any:
    match value:
        case list() | tuple():
            return _list(name, value, level)
        case Mapping():
            return _map(name, value, level)
        case set() | frozenset():
            return _sorted(_list(name, value, level))
        case np.ma.MaskedArray():  # masked values are missing; an item of such an array is masked itself
            if value.dtype.kind in _UNITS_OF_THEIR_OWN:
                raise _type_unknown(name, value)
            return plain_value(name, value.tolist(), level)
        case np.ndarray():
            return _list(name, value, level) if value.ndim else plain_value(name, value[()], level)
        case msgspec.Struct():
            return _map(name, {each: getattr(value, each) for each in value.__struct_fields__}, level)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _map(name, {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}, level)
    if _is_missing(value):
        return None
    raise _type_unknown(name, value)


def _list(name: str, value: Iterable[Any], level: int) -> list[Any]:
    return [plain_value(name, item, level + 1) for item in value]


def _map(name: str, value: Mapping[Any, Any], level: int) -> dict[str, Any]:
    return {property_name(key): plain_value(f"{name}.{key}", item, level + 1) for key, item in value.items()}


def _sorted(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:  # scalars of several types
        return sorted(items, key=msgspec.msgpack.encode)


def property_name(name: object) -> str:
    """The name of a property; TypeError where it is not text."""
    if not isinstance(name, str):
        raise TypeError(f"names of properties are text, not {type(name).__name__}: {name!r}")
    return str.__str__(name)


def _number(name: str, value: float | Decimal) -> int | float:
    if isinstance(value, int):
        return _integer(name, value)
    if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
        raise ValueError(f"{name!r} is {value}; send None or leave it out")
    return _decimal(name, value) if isinstance(value, Decimal) else float(value)


def _integer(name: str, value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError(rules.INTEGER_BITS.said(name=name, value=short_number(value)))
    return int(value)


def _decimal(name: str, value: Decimal) -> int | float:
    # A number with an astronomical exponent must not be written out for the test.
    if value and value.adjusted() >= _DIGITS_MAX:
        raise ValueError(rules.INTEGER_BITS.said(name=name, value=short_number(value)))
    if not value or (value.adjusted() >= 0 and value == value.to_integral_value()):
        return _integer(name, int(value))
    number = float(value)
    if Decimal(repr(number)) != value:
        shown = short_number(value)
        raise ValueError(f"{name!r} = {shown} has more digits than a number holds; send float(...) or a string")
    return number


def _instant(name: str, value: date) -> datetime | None:
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if _is_missing(value):
        return None
    if value.utcoffset() is None:
        raise ValueError(f"{name!r} = {value} has no zone: write datetime(..., tzinfo=UTC)")
    try:
        return to_datetime(to_ms(value))
    except OverflowError as error:
        raise ValueError(f"{name!r} = {value} is in UTC not between the years 1 and 9999") from error


def _numpy_scalar(name: str, value: np.generic) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value):
        return None
    item = value.item()
    # numpy's dates and durations have no zone and their own unit; table rows and long doubles have no plain form.
    if isinstance(value, np.datetime64 | np.timedelta64 | np.void) or isinstance(item, np.generic):
        raise _type_unknown(name, value)
    return plain_value(name, item)


def _is_missing(value: object) -> bool:
    """Tests for pandas' marks of a missing value, without loading pandas."""
    kind = type(value)
    return kind.__name__ in _PANDAS_MISSING and kind.__module__.partition(".")[0] == "pandas"


def _type_unknown(name: str, value: object) -> TypeError:
    kind = type(value).__name__
    return TypeError(f"{name!r} has type {kind}, which cannot be stored; send text, a number or a time with its zone")


def short_number(value: int | Decimal) -> str:
    """A number as a message shows it."""
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to print much longer ones
        return f"an integer of {value.bit_length()} bits"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
