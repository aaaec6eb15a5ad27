"""The line of a dead letter: a JSON object whose last field is a checksum of everything before it.

    {"source":"web","dialect":"segment",...,"record":{...},"crc32c":"8f3a01bc"}

Lines from before there were checksums are read too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import google_crc32c
import msgspec

_MARK: Final = b',"crc32c":"'
_REST: Final = re.compile(rb'([0-9a-f]{8})"}\n?')


class DeadLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: the record, the time and way of its receipt, and the reason for its rejection."""

    source: str
    dialect: str
    received_ms: int
    sent_ms: int | None
    code: str
    message: str
    record: Any


_LETTER: Final = msgspec.json.Decoder(DeadLetter)


def encode_letter(letter: DeadLetter) -> bytes:
    """The line of a letter; texts that are no Unicode are written with escapes."""
    try:
        body = msgspec.json.encode(letter)[:-1]
    except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError, OverflowError):
        body = json.dumps(msgspec.structs.asdict(letter)).encode()[:-1]
    return b'%s%s%08x"}\n' % (body, _MARK, google_crc32c.value(body))


def decode_letter(line: bytes) -> DeadLetter:
    """The letter of a line; ValueError if it is none, or was changed."""
    body, mark, rest = line.rpartition(_MARK)
    checksum = _REST.fullmatch(rest) if mark else None
    if checksum is not None:
        if google_crc32c.value(body) != int(checksum[1], 16):
            raise ValueError("the letter does not fit its checksum")
        line = body + b"}"
    try:
        return _LETTER.decode(line)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except msgspec.DecodeError:
        return _decoded_otherwise(line)


def _decoded_otherwise(line: bytes) -> DeadLetter:
    """Decodes with Python's own reader, which accepts escapes that represent no character."""
    try:
        return msgspec.convert(json.loads(line), DeadLetter)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error


def read_lines(path: Path) -> Iterator[tuple[bytes, DeadLetter | None]]:
    """Whole lines of a file, with their letters if they can be read. Bytes after the last end of line are no line."""
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield line, decode_letter(line)
            except ValueError:
                yield line, None
