"""Rows of msgpack as Python objects, a few at a time: those that the kernel leaves, whatever their fault.

A row that msgspec cannot decode is decoded again, leniently, to find the text that is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgpack
import msgspec

from cdp_router.errors import RecordInvalid
from cdp_router.records.msgpack_rows import FoundRows
from cdp_router.records.validation import Row
from cdp_store.records import rules

_ARRAY_HEAD: Final = b"\xdd"  # of a msgpack array with a length of 32 bits
_UNDECODABLE: Final = (msgspec.DecodeError, RecursionError, ValueError, OverflowError, TypeError)


def unusual_rows(found: FoundRows, positions: Iterable[int]) -> Iterator[tuple[int, Row | RecordInvalid]]:
    """Rows at some positions; those that cannot be decoded are replaced by their problem."""
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
    fields = rules.ROW_FIELDS.limit
    if isinstance(value, list) and fields <= len(value) <= fields + 2:
        return Row(*value)
    return RecordInvalid.of(rules.ROW_FIELDS)


def _alone(packed: bytes) -> Row | RecordInvalid:
    try:
        return as_row(msgspec.msgpack.decode(packed))
    except UnicodeDecodeError:
        return _lenient(packed)
    except RecursionError:
        return RecordInvalid.of(rules.ROW_DEPTH)
    except _UNDECODABLE as error:
        return RecordInvalid.of(rules.ROW_DECODED, problem=str(error))


def _lenient(packed: bytes) -> Row | RecordInvalid:
    """The row with characters that no text may contain in place of bytes that are not UTF-8: its check names them."""
    try:
        return as_row(msgpack.unpackb(packed, unicode_errors="surrogateescape", strict_map_key=False, timestamp=3))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return RecordInvalid.of(rules.ROW_UNICODE)
