"""Bodies of few bytes that would keep a gateway busy: the work on one grows with its bytes, not with their square."""

from __future__ import annotations

import base64
import gzip
import tracemalloc
from collections.abc import Callable

import pytest

from cdp_router.gateway.bodies import check_values, decompressed
from cdp_router.gateway.dialects.beacons import unwrapped
from cdp_router.gateway.dialects.distinct_ids import is_anonymous
from cdp_router.gateway.dialects.mapping import Envelope
from cdp_router.gateway.dialects.wrapping import wrap_posthog
from cdp_router.gateway.http_limits import BODY_BYTES_MAX
from cdp_router.gateway.problems import Problem
from cdp_router.records.instants import instant_of

BASE64 = {"compression": "base64"}


@pytest.mark.parametrize("blank", [b"\n", b"\t", b"\r\n", b"A\n", b"="])
def test_a_beacon_of_very_many_blanks_is_refused_without_trying_every_length_of_them(blank: bytes) -> None:
    body = b"A" + blank * (4_000_000 // len(blank)) + b"!"
    with pytest.raises(Problem, match="neither JSON nor base64"):
        unwrapped(body, BASE64, BODY_BYTES_MAX)


def test_a_body_of_very_many_names_is_refused_before_it_is_decoded() -> None:
    names = b",".join(b'"%x":1' % number for number in range(500_000))
    with pytest.raises(Problem, match="names") as caught:
        check_values(b"{" + names + b"}")
    assert caught.value.status == 413
    assert check_values(b"{" + names[: len(names) // 2] + b"}")


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


def _instants(pad: str) -> None:
    for day in range(1, 29):
        assert instant_of(f"2026-01-{day:02}{pad}") == instant_of(f"{pad}2026-01-{day:02}")


def _wrapped_calls(pad: str) -> None:
    envelope = Envelope("web", 1_767_225_600_000, 1_767_225_000_000)
    for number in range(28):
        said = f"{number}{pad}"
        item = {"timestamp": said, "properties": {"$lib": said, "$lib_version": said}}
        assert len(wrap_posthog(item, envelope)) < 1000


def _distinct_ids(pad: str) -> None:
    for number in range(28):
        assert not is_anonymous(f"u-{number}{pad}", {}, "^shopper")


@pytest.mark.parametrize("read", [_instants, _wrapped_calls, _distinct_ids])
def test_what_is_remembered_of_texts_that_clients_choose_is_small(read: Callable[[str], None]) -> None:
    read("")
    tracemalloc.start()
    try:
        read(" " * 300_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 300_000
