"""Bodies that posthog-js sends when a page is left: the JSON in base64, as the field `data` of a form.

It does so whenever it has no compression, and always for beacons: a form needs no preflight. Some versions state it in
the query (`compression=base64`), some send gzip in base64, and the content type is a form's or text/plain.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from cdp_router.gateway.bodies import decompressed
from cdp_router.gateway.dialects.times import lenient_ms
from cdp_router.gateway.problems import malformed

_FORM: Final = re.compile(rb"\s*(?:[\w.~-]{1,40}=[^&\s]{0,200}&){0,10}data=")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_FIELDS_MAX: Final = 32
_URL_SAFE: Final = bytes.maketrans(b"-_ ", b"+/+")  # an unescaped plus arrives as a space
_LINE_ENDS: Final = b"\t\n\r\v\f"


def unwrapped(body: bytes, query: Mapping[str, str], bytes_max: int) -> bytes:
    """The JSON of a body, unchanged for any other body; Problem 400 or 413 if it cannot be decoded."""
    if query.get("compression") == "lz64":
        raise malformed("compression=lz64 is not read; send base64 or gzip")
    if _FORM.match(body):
        try:
            fields = parse_qs(body.decode(errors="surrogateescape").strip(), max_num_fields=_FIELDS_MAX)
        except ValueError as error:
            raise malformed(f"the form cannot be read: {error}") from error
        body = fields.get("data", [""])[0].encode(errors="surrogateescape")
    elif query.get("compression") != "base64":
        return body
    return body if body.lstrip()[:1] in (b"{", b"[") else _decoded(body, bytes_max)


def sent_in_query(query: Mapping[str, str]) -> int | None:
    """Epoch milliseconds at which the library sent a request, according to its URL, if it has them."""
    return lenient_ms(query.get("sent_at") or query.get("_"))


def _decoded(body: bytes, bytes_max: int) -> bytes:
    plain = body.strip().translate(_URL_SAFE, _LINE_ENDS)
    if not _BASE64.fullmatch(plain):
        raise malformed("'data' is neither JSON nor base64")
    bare = plain.rstrip(b"=")
    try:
        decoded = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error as error:
        raise malformed(f"'data' is not base64: {error}") from error
    return decompressed(decoded, "", bytes_max)
