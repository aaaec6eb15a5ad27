"""The kinds of value a property or attribute can hold, and their 64-bit storage form.

kind     storage in an int64
UNSET    0 (an attribute change that removes the value)
BOOL     0 or 1
INT      the integer
FLOAT    the bits of the float64
STRING   index into a string table, later a dictionary code
TIME     milliseconds since 1970-01-01 UTC
LIST     like STRING; the string is the msgpack form of the list
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgpack
import numpy as np

from cdp_store.arrays import I64, U8, Bools
from cdp_store.errors import BatchMalformed

Scalar = bool | int | float | str | datetime
Value = Scalar | list[Any]


class Kind(enum.IntEnum):
    """Type of one stored value; a name may hold values of several kinds, kept apart."""

    UNSET = 0
    BOOL = 1
    INT = 2
    FLOAT = 3
    STRING = 4
    TIME = 5
    LIST = 6


class Operation(enum.IntEnum):
    """Effect of a change of an attribute on its value; stands above the kind in a batch's byte for it, never in
    memory."""

    SET = 0
    SET_ONCE = 1  # unless there is a value
    INCREMENT = 2  # INT or FLOAT; what is no number counts as 0
    APPEND = 3  # LIST: those items that are not there yet
    REMOVE = 4  # LIST


KIND_MASK: Final = 0x0F
OPERATION_SHIFT: Final = 4
TEXT_KINDS: Final = (Kind.STRING, Kind.LIST)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def to_datetime(ms: int) -> datetime:
    """UTC instant of epoch milliseconds."""
    return EPOCH + timedelta(milliseconds=ms)


def to_ms(instant: datetime) -> int:
    """Epoch milliseconds of an instant, rounded down, exact over the whole calendar.

    The only way from a datetime to milliseconds: a float has no exact form for most instants. Raises ValueError for
    one without zone.
    """
    try:
        return (instant - EPOCH) // _MILLISECOND
    except TypeError:
        raise ValueError(f"{instant} has no zone: write datetime(..., tzinfo=UTC)") from None


def pack(fields: Any) -> bytes:
    """Msgpack of a value or a payload of the log, in the shortest forms: what is equal gives equal bytes."""
    packed: bytes = msgpack.packb(fields, datetime=True)
    return packed


def unpack(packed: bytes) -> Any:
    """The value behind `pack`'s bytes; `decoding` knows what it raises for others."""
    return msgpack.unpackb(packed, timestamp=3)


def pack_list(items: list[Any]) -> bytes:
    """Canonical bytes of a list value: equal lists give equal bytes."""
    return pack(items)


def unpack_list(packed: bytes) -> list[Any]:
    """The list behind `pack_list`'s bytes."""
    items: list[Any] = unpack(packed)
    return items


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Raises BatchMalformed for whatever bytes that are none of `what` make its decoding raise."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BatchMalformed(f"{what}: {type(error).__name__}: {error}") from error


def decode_value(kind: int, raw: int, text: bytes | None = None) -> Value | None:
    """Python value of one stored (kind, int64) pair; `text` holds the bytes behind a STRING or LIST."""
    match kind:
        case Kind.BOOL:
            return bool(raw)
        case Kind.INT:
            return int(raw)
        case Kind.FLOAT:
            return float(np.int64(raw).view(np.float64))
        case Kind.TIME:
            return to_datetime(int(raw))
        case Kind.STRING if text is not None:
            return text.decode()
        case Kind.LIST if text is not None:
            return unpack_list(text)
    return None


def is_text(kinds: U8) -> Bools:
    """True for each kind whose raw value is the number of a string."""
    plain = kinds & np.uint8(KIND_MASK)
    mask: Bools = (plain == Kind.STRING) | (plain == Kind.LIST)
    return mask


def float_bits(values: I64) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The float64 values whose bits are stored in `values`, without copying."""
    return values.view(np.float64)
