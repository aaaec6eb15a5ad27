"""Rows on their way to a router: msgpack, one behind the other, as many as there are of one request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

_ARRAY_HEAD: Final = b"\xdd"  # of a msgpack array with a length of 32 bits
_ROWS: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a request, without the head that makes an array of them."""

    packed: bytes = b""
    count: int = 0

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> Rows:
        """Rows that are packed one by one."""
        return cls(b"".join(rows), len(rows))

    def each(self) -> list[bytes]:
        """The rows one by one."""
        return [bytes(row) for row in _ROWS.decode(as_array([self]))]


def as_array(parts: Iterable[Rows]) -> bytes:
    """One msgpack array of all these rows."""
    given = list(parts)
    count = sum(part.count for part in given)
    return b"".join((_ARRAY_HEAD, count.to_bytes(4, "big"), *(part.packed for part in given)))
