"""Rows of msgpack as Python objects, some at a time: those that the kernel leaves, whatever is wrong with them.

A row that msgspec cannot decode is decoded once more, leniently, so that the text that is not UTF-8 can be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgpack
import msgspec

from cdp_router.errors import RecordInvalid
from cdp_router.records.msgpack_rows import FoundRows
from cdp_router.records.validation import Row

_ROW_FIELDS: Final = 6
_ARRAY_HEAD: Final = b"\xdd"  # of a msgpack array with a length of 32 bits
_UNDECODABLE: Final = (msgspec.DecodeError, RecursionError, ValueError, OverflowError, TypeError)
_MALFORMED: Final = "RECORD_MALFORMED"


def unusual_rows(found: FoundRows, positions: Iterable[int]) -> Iterator[tuple[int, Row | RecordInvalid]]:
    """Rows at some positions, with what is wrong in the place of those that cannot be decoded."""
    at = list(positions)
    packed = [found.row(position) for position in at]
    try:
        rows: list[Any] = msgspec.msgpack.decode(_ARRAY_HEAD + len(at).to_bytes(4, "big") + b"".join(packed))
    except _UNDECODABLE:
        yield from zip(at, map(_alone, packed), strict=True)
        return
    yield from zip(at, map(as_row, rows), strict=True)


def as_row(value: Any) -> Row | RecordInvalid:
    """A decoded value as a row."""
    if isinstance(value, list) and _ROW_FIELDS <= len(value) <= _ROW_FIELDS + 2:
        return Row(*value)
    return RecordInvalid(_MALFORMED, f"a record is an array of {_ROW_FIELDS} fields, or one or two more")


def _alone(packed: bytes) -> Row | RecordInvalid:
    try:
        return as_row(msgspec.msgpack.decode(packed))
    except UnicodeDecodeError:
        return _lenient(packed)
    except RecursionError:
        return RecordInvalid(_MALFORMED, "is nested too deeply to be read")
    except _UNDECODABLE as error:
        return RecordInvalid(_MALFORMED, f"cannot be decoded: {error!s:.200}")


def _lenient(packed: bytes) -> Row | RecordInvalid:
    """The row with characters that no text may hold in the place of bytes that are not UTF-8: its check names them."""
    try:
        return as_row(msgpack.unpackb(packed, unicode_errors="surrogateescape", strict_map_key=False, timestamp=3))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return RecordInvalid(_MALFORMED, "holds text that is not UTF-8")
