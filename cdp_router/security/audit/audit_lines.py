"""The lines of an audit file: JSON objects with the hash of the previous line and, at the end, their own.

    {"number":2,"at":"2026-03-01T09:30:00.000Z","key":"0951ffb3958c",...,"before":"<hash of line 1>","hash":"<own>"}

The hash is BLAKE2b under a secret of the cluster, over everything before `,"hash"`. Without that secret nobody can
check a line, but nobody can make a valid chain either.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

NO_HASH: Final = "0" * 64
_HASH_BYTES: Final = 32
_MARK: Final = b',"hash":"'
_END: Final = b'"}\n'


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action, or its refusal."""

    number: int  # counts from 1 through all files of a router
    at: str
    method: str
    outcome: str  # OK, BEGUN, or the reason of the refusal
    key: str = ""
    name: str = ""
    request_id: str = ""
    facts: Mapping[str, str | int] = {}
    before: str = NO_HASH


@dataclass(frozen=True, slots=True)
class Line:
    """An entry in a file."""

    entry: Entry
    hash: str


def to_line(entry: Entry, secret: bytes) -> tuple[bytes, str]:
    """The line of an entry, and its hash."""
    body = msgspec.json.encode(entry)[:-1]
    digest = _hash(body, secret)
    return body + _MARK + digest.encode() + _END, digest


def from_line(line: bytes) -> Line | None:
    """The entry of a line, with the hash that it states; None if it is no line of an audit."""
    body, mark, rest = line.rpartition(_MARK)
    if not mark or not line.endswith(_END):
        return None
    try:
        entry = msgspec.json.decode(body + b"}", type=Entry)
        return Line(entry, rest.removesuffix(_END).decode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_unchanged(line: bytes, secret: bytes) -> bool:
    """True if a line is unchanged."""
    body, _, rest = line.rpartition(_MARK)
    return hmac.compare_digest(rest.removesuffix(_END), _hash(body, secret).encode())


def _hash(body: bytes, secret: bytes) -> str:
    return hashlib.blake2b(body, digest_size=_HASH_BYTES, key=secret).hexdigest()
