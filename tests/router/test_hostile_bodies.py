"""Bodies of few bytes that would keep a gateway busy: the work on one grows with its bytes, not with their square."""

from __future__ import annotations

import base64
import gzip

import pytest

from cdp_router.gateway.beacons import unwrapped
from cdp_router.gateway.bodies import decompressed
from cdp_router.gateway.limits import BODY_BYTES_MAX
from cdp_router.gateway.problems import Problem

BASE64 = {"compression": "base64"}


@pytest.mark.parametrize("blank", [b"\n", b"\t", b"\r\n", b"A\n", b"="])
def test_a_beacon_of_very_many_blanks_is_refused_without_trying_every_length_of_them(blank: bytes) -> None:
    body = b"A" + blank * (4_000_000 // len(blank)) + b"!"
    with pytest.raises(Problem, match="neither JSON nor base64"):
        unwrapped(body, BASE64, BODY_BYTES_MAX)


def test_base64_in_lines_is_read() -> None:
    plain = b'{"event": "Leave"}' * 20
    assert unwrapped(base64.encodebytes(plain), BASE64, BODY_BYTES_MAX) == plain


def test_gzip_of_very_many_members_is_read_once_and_not_once_for_each_member() -> None:
    empty = gzip.compress(b"", mtime=0)
    body = empty * (BODY_BYTES_MAX // len(empty) - 10) + gzip.compress(b"{}", mtime=0)
    assert decompressed(body, "gzip", BODY_BYTES_MAX) == b"{}"


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-1], lambda body: body + b"x", lambda body: body[:-8] + b"x" * 8]
)
def test_gzip_that_is_cut_or_goes_on_or_was_changed_is_refused(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(Problem, match="cannot be decompressed"):
        decompressed(damage(gzip.compress(b"[1, 2]")), "", BODY_BYTES_MAX)


def test_gzip_is_recognised_whatever_the_header_says() -> None:
    body = gzip.compress(b"[1, ") + gzip.compress(b"2]")
    assert {decompressed(body, encoding, 6) for encoding in ("", "br", "deflate", "gzip", "?")} == {b"[1, 2]"}
    with pytest.raises(Problem, match="more than 5 bytes"):
        decompressed(body, "", 5)
