"""Rows in flight: encoded, with an id each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from operator import not_
from typing import Final, NamedTuple

import msgspec
import numpy as np

from cdp_router.cli.data.row_mapping import WireRow
from cdp_router.importing.content_ids import ID_BYTES, ContentIds, lanes_of
from cdp_router.limits import ROWS_BYTES_MAX
from cdp_store.arrays import Bools

BATCH_BYTES: Final = ROWS_BYTES_MAX * 3 // 4
_ENCODER: Final = msgspec.msgpack.Encoder()
_CONTENT_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")  # equal records, equal bytes
_ARRAY: Final = 0x90  # head of a msgpack array of up to 15 items
_MAP: Final = 0x80  # head of a msgpack map of up to 15 entries
_ID_HEAD: Final = 0xA0 | ID_BYTES  # of a msgpack text of up to 31 bytes
_LONG_ARRAY: Final = b"\xdd"
_BEFORE_ID: Final = 4  # fields of a row before its message id
assert ID_BYTES < 32, "the head of a generated id is one byte"


class EncodedRow(NamedTuple):
    """A row as msgpack without its message id, which goes between `front` and `rest`.

    A row without an id has its content instead: the same bytes for all rows with equal content.
    """

    front: bytes
    message_id: bytes
    rest: bytes
    content: bytes
    line: int

    @property
    def size(self) -> int:
        """Bytes of the whole row."""
        return len(self.front) + (len(self.message_id) or 1 + ID_BYTES) + len(self.rest)


def encode_row(row: WireRow, line: int, made: bytes | None = None) -> EncodedRow:
    """A row as msgpack, with the message id `made` if it has none of its own; if that is None, its content makes one.

    Raises msgspec's errors for a value without such a form.
    """
    message_id, rest = row[_BEFORE_ID], row[_BEFORE_ID + 1 :]
    head = _ENCODER.encode(row[:_BEFORE_ID])[1:]
    given = _ENCODER.encode(message_id) if message_id else bytes((_ID_HEAD,)) + made if made else b""
    content = b"" if given else head + _CONTENT_ENCODER.encode(rest)
    return EncodedRow(array_head(len(row)) + head, given, _ENCODER.encode(rest)[1:], content, line)


def array_head(items: int) -> bytes:
    """The head of a msgpack array of up to 15 items."""
    return bytes((_ARRAY | items,))


def map_head(items: int) -> bytes:
    """The head of a msgpack map."""
    if items < 16:
        return bytes((_MAP | items,))
    return b"\xde" + items.to_bytes(2, "big") if items < 1 << 16 else b"\xdf" + items.to_bytes(4, "big")


def content_order(names: Iterable[str]) -> list[str]:
    """Names of values in the order of a row's content."""
    return list(msgspec.msgpack.decode(_CONTENT_ENCODER.encode(dict.fromkeys(names))))


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Parts of encoded rows, a list for each: the bytes before their ids, the ids, and the bytes after them."""

    fronts: Sequence[list[bytes]]
    message_ids: list[bytes]
    rests: Sequence[list[bytes]]
    contents: list[bytes]
    lines: list[int]

    @classmethod
    def of(cls, rows: Iterable[EncodedRow]) -> EncodedRows:
        """Encoded rows from at least one row."""
        fronts, message_ids, rests, contents, lines = map(list, zip(*rows, strict=True))
        return cls([fronts], message_ids, [rests], contents, lines)

    def put(self, at: int, row: EncodedRow) -> None:
        """Replaces a row."""
        for parts, whole in ((self.fronts, row.front), (self.rests, row.rest)):
            for part in parts:
                part[at] = b""
            parts[0][at] = whole
        self.message_ids[at], self.contents[at] = row.message_id, row.content

    def kept(self, keep: Bools) -> EncodedRows:
        """Some of the rows."""
        if keep.all():
            return self
        fronts, rests = ([list(compress(part, keep)) for part in parts] for parts in (self.fronts, self.rests))
        message_ids, contents = (list(compress(each, keep)) for each in (self.message_ids, self.contents))
        return EncodedRows(fronts, message_ids, rests, contents, list(compress(self.lines, keep)))

    def whole(self, ids: ContentIds) -> list[bytes]:
        """The rows with their ids; those without one get these."""
        given = self.message_ids
        if lacking := list(compress(self.contents, map(not_, given))):
            made = (
                np.insert(ids.ids_of(lanes_of(lacking)), 0, _ID_HEAD, axis=1).view(f"S{1 + ID_BYTES}").ravel().tolist()
            )
            next_id = iter(made).__next__
            given = made if len(made) == len(given) else [message_id or next_id() for message_id in given]
        return list(map(b"".join, zip(*self.fronts, given, *self.rests, strict=True)))


@dataclass(slots=True)
class Waiting:
    """Rows and their lines that wait for a batch."""

    rows: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def first(self, rows_max: int) -> int:
        """Number of rows of the next batch; all of them if more may join it."""
        count = min(len(self.rows), rows_max)
        sizes = list(map(len, self.rows[:count]))
        if sum(sizes) <= BATCH_BYTES:
            return count
        return max(sum(size <= BATCH_BYTES for size in accumulate(sizes)), 1)

    def packed(self, count: int) -> tuple[bytes, list[int]]:
        """This many rows as a msgpack array, and their lines; they no longer wait."""
        content = b"".join((_LONG_ARRAY, count.to_bytes(4, "big"), *self.rows[:count]))
        lines = self.lines[:count]
        del self.rows[:count], self.lines[:count]
        return content, lines
