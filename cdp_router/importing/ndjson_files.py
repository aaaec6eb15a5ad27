"""NDJSON files: one JSON object per line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from cdp_router.importing.numbers import json_float, written_json_float
from cdp_router.importing.read_options import Reading, without
from cdp_router.importing.texts import LINE_CHARACTERS_MAX, UTF8, marked, text_lines, undecodable

MALFORMED: Final = "RECORD_MALFORMED"
TEXT_INVALID: Final = "TEXT_INVALID"


@dataclass(frozen=True, slots=True)
class JsonLine:
    """A line: its number, its object or its problem, and the number of bytes of the file read so far."""

    number: int
    record: dict[str, Any] | None
    problem: str
    done: int
    code: str = MALFORMED


def read_lines(path: Path, encoding: str, reading: Reading) -> Iterator[JsonLine]:
    """The non-empty lines."""
    decode = msgspec.json.Decoder(float_hook=written_json_float if reading.as_text else json_float).decode
    lines = _utf8_lines(path) if encoding == UTF8 else text_lines(path, encoding, "\n")
    for number, (line, done) in enumerate(lines, 1):
        if line is None:
            yield JsonLine(number, None, f"not JSON: the line has more than {LINE_CHARACTERS_MAX} characters", done)
            continue
        if not line.strip():
            continue
        if isinstance(line, str) and (shown := marked(line)):
            yield JsonLine(number, None, undecodable(shown, encoding, "not JSON: "), done, TEXT_INVALID)
            continue
        try:
            record = decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            yield _malformed(number, line, error, done)
            continue
        if not isinstance(record, dict):
            yield JsonLine(number, None, "not a JSON object", done)
            continue
        if reading.skip:
            record = without(record, reading.skip)
        yield JsonLine(number, record, "", done)


def _malformed(number: int, line: bytes | str, error: Exception, done: int) -> JsonLine:
    if isinstance(line, bytes):
        try:
            line.decode()
        except UnicodeDecodeError as wrong:
            shown = " ".join(f"0x{byte:02x}" for byte in line[wrong.start : wrong.end])
            return JsonLine(number, None, undecodable(shown, UTF8, "not JSON: "), done, TEXT_INVALID)
    return JsonLine(number, None, f"not JSON: {error}", done)


def _utf8_lines(path: Path) -> Iterator[tuple[bytes | None, int]]:
    """The lines of a file and the number of bytes read so far; None for a line that is too long."""
    done = 0
    with path.open("rb") as file:
        while line := file.readline(LINE_CHARACTERS_MAX):
            done += len(line)
            whole: bytes | None = line.removeprefix(codecs.BOM_UTF8)
            while len(line) == LINE_CHARACTERS_MAX and not line.endswith(b"\n"):
                line, whole = file.readline(LINE_CHARACTERS_MAX), None
                done += len(line)
            yield whole, done
