"""Rows on their way: encoded, with an id each, gathered into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from cdp_router.cli.data.row_mapping import WireRow
from cdp_router.importing.content_ids import ID_BYTES, ContentIds, lanes_of

_ENCODER: Final = msgspec.msgpack.Encoder()
_CONTENT_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")  # equal records, equal bytes
_ARRAY: Final = 0x90  # head of a msgpack array of up to 15 items
_SHORT_TEXT: Final = 0xA0  # head of a msgpack text of up to 31 bytes
_LONG_ARRAY: Final = b"\xdd"
_BEFORE_ID: Final = 4  # fields of a row before its message id
_GENERATED_BYTES: Final = 1 + ID_BYTES
assert ID_BYTES < 32, "the head of a generated id is one byte"


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as msgpack without its message id, which stands between `head` and `rest`. One that has none has its
    content instead: the same bytes for all rows that say the same."""

    head: bytes
    rest: bytes
    fields: int
    message_id: bytes | None
    content: bytes
    line: int

    @property
    def size(self) -> int:
        """Bytes of the whole row."""
        own = _GENERATED_BYTES if self.message_id is None else len(self.message_id)
        return 1 + len(self.head) + own + len(self.rest)


def encode_row(row: WireRow, line: int, made: bytes | None = None) -> EncodedRow:
    """A row as msgpack, which has the message id `made` where it brings none of its own; None: its content makes one.

    Raises what msgspec does where a value has no such form.
    """
    message_id, rest = row[_BEFORE_ID], row[_BEFORE_ID + 1 :]
    head = _ENCODER.encode(row[:_BEFORE_ID])[1:]
    given = _ENCODER.encode(message_id) if message_id else made and _generated(made)
    content = b"" if given else head + _CONTENT_ENCODER.encode(rest)
    return EncodedRow(head, _ENCODER.encode(rest)[1:], len(row), given, content, line)


def _generated(message_id: bytes) -> bytes:
    return bytes((_SHORT_TEXT | ID_BYTES,)) + message_id


@dataclass(slots=True)
class Gathered:
    """Rows of a batch that is not full yet."""

    rows: list[EncodedRow] = field(default_factory=list)
    size: int = 0

    def add(self, row: EncodedRow) -> None:
        """Take a row."""
        self.rows.append(row)
        self.size += row.size

    def packed(self, ids: ContentIds) -> tuple[bytes, Sequence[int]]:
        """All rows as a msgpack array, and their lines; those without a message id get theirs."""
        missing = [row for row in self.rows if row.message_id is None]
        made = iter(ids.of(lanes_of([row.content for row in missing]))) if missing else iter(())
        parts = [_LONG_ARRAY, len(self.rows).to_bytes(4, "big")]
        for row in self.rows:
            message_id = row.message_id or _generated(next(made).tobytes())
            parts += (bytes((_ARRAY | row.fields,)), row.head, message_id, row.rest)
        return b"".join(parts), [row.line for row in self.rows]
