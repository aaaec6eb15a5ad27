"""A request's body: decompressed within a bound, and read as JSON even if it is not quite JSON.

What clients state about their bodies is not reliable: gzip comes without its header, JSON under any content type, and
Python clients write NaN. One such value must cost no other record of its batch.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from cdp_router.gateway.http_limits import DECODED_BYTES_MAX
from cdp_router.gateway.problems import malformed, too_large
from cdp_store.arrays import U16

_GZIP: Final = b"\x1f\x8b"
_CODECS: Final = {"zstd": "zstd", "br": "brotli"}
_TOO_LONG_INTEGER: Final = 1 << 64  # represents an integer with too many digits to read; no record may hold it
# Python's memory for a value of a list, for an object with its first field, and for the name of a field. A name costs
# time as well: while a million different ones are decoded, in a second or more, nothing else runs.
_VALUE_BYTES: Final = 72
_OBJECT_BYTES: Final = 200
_NAME_BYTES: Final = 144
_DECODED_BYTES: Final[U16] = np.zeros(256, np.uint16)  # by character outside of texts
_DECODED_BYTES[[ord(","), ord("["), ord("{"), ord(":")]] = _VALUE_BYTES, _VALUE_BYTES, _OBJECT_BYTES, _NAME_BYTES
_QUOTE: Final = ord('"')
_OTHERS: Final = bytes(set(range(256)) - {*b',[{:"'})
_MARKS_AT_ONCE: Final = 1 << 16  # the arrays made of them stay in a cache
_DECODER: Final = msgspec.json.Decoder()


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The plain bytes of a body; Problem 413 if they are more than `bytes_max`, 400 if they cannot be decoded."""
    coding = encoding.strip().lower()
    if body.startswith(_GZIP):
        return _streamed(body, "gzip", bytes_max)
    if coding in _CODECS:
        return _streamed(body, _CODECS[coding], bytes_max)
    return _inflated(body, bytes_max) if coding == "deflate" else _checked(body, bytes_max)


def _checked(body: bytes, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise too_large(f"the body has more than {bytes_max} bytes; send smaller batches")
    return body


def _inflated(body: bytes, bytes_max: int) -> bytes:
    # Both forms are called deflate; the first byte of the zlib one has its method, 8.
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    try:
        plain = _checked(stream.decompress(body, bytes_max + 1), bytes_max)
    except zlib.error as error:
        raise malformed(f"the body cannot be decompressed: {error}") from error
    if not stream.eof:
        raise malformed("the compressed body ends too early")
    return plain


def _streamed(body: bytes, codec: str, bytes_max: int) -> bytes:
    """Decompresses one frame or member after the other; each is read once, however many there are."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
            plain: bytes = stream.read(bytes_max + 1)
    except (OSError, pa.ArrowException) as error:
        raise malformed(f"the body cannot be decompressed: {error}") from error
    return _checked(plain, bytes_max)


def check_values(body: bytes) -> int:
    """Bytes that a body may need once it is decoded, by its punctuation; Problem 413 if they are too many.

    Punctuation inside texts does not count. As for decoders, a text ends at a quote that is not escaped.
    """
    marks = np.frombuffer(_without_escapes(body).translate(None, _OTHERS), np.uint8)
    size, is_inside = 0, np.uint8(0)
    for start in range(0, marks.shape[0], _MARKS_AT_ONCE):
        piece = marks[start : start + _MARKS_AT_ONCE]
        inside = np.bitwise_xor.accumulate((piece == _QUOTE).view(np.uint8)) ^ is_inside
        is_inside = inside[-1]
        size += int(_DECODED_BYTES.take(piece[inside == 0]).sum(dtype=np.int64))
    if size > DECODED_BYTES_MAX:
        raise too_large("the body holds more values and names than one request may; send smaller batches")
    return size + len(body)


def _without_escapes(body: bytes) -> bytes:
    """A body in which each quote begins or ends a text. Backslashes are only in texts, or no decoder gets so far."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body


def read_json(body: bytes) -> Any:
    """The value of a body; Problem 400 if it is no JSON in any reading."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # Bytes that are no UTF-8 become characters that no record may hold: only the records that have them are wrong.
        text = body.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_integer)
    except ValueError as error:
        raise malformed(f"the body is not JSON: {str(error)[:200]}") from error
    except RecursionError as error:
        raise malformed("the body is nested too deeply") from error


def _no_number(name: str) -> None:
    """NaN and the infinities mean that there is no value."""
    return


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        return _TOO_LONG_INTEGER
