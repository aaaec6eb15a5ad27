"""Rows on their way to a router: msgpack, one after the other, and the envelope of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from cdp.v1 import ingest_pb2

_ARRAY_HEAD: Final = b"\xdd"  # of a msgpack array with a length of 32 bits
_ROWS: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a request, without the head that would make them an array.

    `wrapped[i]` is the number of row i's text among the envelopes, counted from 1, or 0; without envelopes it is empty.
    """

    packed: bytes = b""
    count: int = 0
    envelopes: tuple[str, ...] = ()
    wrapped: Sequence[int] = ()

    @classmethod
    def of(cls, rows: Sequence[bytes], envelopes: tuple[str, ...] = (), wrapped: Sequence[int] = ()) -> Rows:
        """Rows that are packed one by one."""
        return cls(b"".join(rows), len(rows), envelopes, wrapped)

    def each(self) -> list[bytes]:
        """The rows one by one."""
        return [bytes(row) for row in _ROWS.decode(_ARRAY_HEAD + self.count.to_bytes(4, "big") + self.packed)]

    def some(self, each_row: Sequence[bytes], places: Sequence[int]) -> Rows:
        """The rows at some places, from those that `each` returned."""
        wrapped = [self.wrapped[place] for place in places] if self.envelopes else ()
        return Rows.of([each_row[place] for place in places], self.envelopes, wrapped)


def batch_of(batch_id: bytes, parts: Iterable[Rows]) -> ingest_pb2.Batch:
    """One batch of all these rows."""
    given = list(parts)
    count = sum(part.count for part in given)
    packed = b"".join((_ARRAY_HEAD, count.to_bytes(4, "big"), *(part.packed for part in given)))
    batch = ingest_pb2.Batch(batch_id=batch_id, msgpack_rows=packed)
    if any(part.envelopes for part in given):
        batch.envelopes.CopyFrom(_envelopes(given))
    return batch


def _envelopes(parts: Sequence[Rows]) -> ingest_pb2.Envelopes:
    texts, records = list[str](), list[int]()
    for part in parts:
        before = len(texts)
        records += [number and number + before for number in part.wrapped] if part.envelopes else [0] * part.count
        texts += part.envelopes
    return ingest_pb2.Envelopes(texts=texts, records=records)
