"""Bodies of few bytes that would keep a gateway busy: the work on one grows with its bytes, not with their square."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
from collections.abc import Callable

import pytest

from cdp_router.gateway.bodies import check_values, decompressed, read_json
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


TEXTS = [
    "2026-01-31T08:00:00.000Z",
    "https://x.org/a,b?c=[1,2],{3:4}",
    'said "a: b", and left',
    "C:\\\\",
    "\\",
    '\\"',
    "é: ü, ☃",
    "",
]


def test_punctuation_inside_texts_counts_as_bytes_alone() -> None:
    plain = json.dumps({"batch": [{"type": "track", "properties": {"a": "x"}}]}).encode()
    for text in TEXTS:
        for is_ascii in (True, False):
            written = json.dumps({"batch": [{"type": "track", "properties": {"a": text}}]}, ensure_ascii=is_ascii)
            body = written.encode()
            assert check_values(body) - len(body) == check_values(plain) - len(plain), text


@pytest.mark.parametrize("pad", range(5))
def test_punctuation_is_told_from_texts_wherever_a_body_is_cut_for_counting(pad: int) -> None:
    text, before = json.dumps("\\" * 3 + '":,[{' * 60_000), b'"a","",' * pad
    body = b"[" + before + f"{', '.join([text] * 3)}]".encode()
    plain = b"[" + before + b'"","",""]'
    assert check_values(body) - len(body) == check_values(plain) - len(plain)


def test_a_body_of_long_texts_full_of_punctuation_is_taken() -> None:
    call = json.dumps({"type": "track", "properties": {"log": "12:00:00, [a], {b: c}; " * 40_000}}).encode()
    body = b'{"batch":[' + b",".join([call] * 20) + b"]}"
    assert check_values(body) < 2 * len(body)


def test_a_text_that_never_ends_hides_nothing_that_would_be_decoded() -> None:
    hidden = b"[" + b"[]," * 2_000_000
    for body in (b'"' + hidden, b'{"a\\":' + hidden):
        assert check_values(body)  # no decoder comes beyond the text
        with pytest.raises(Problem, match="not JSON"):
            read_json(body)
    for body in (hidden, b'"a"' + hidden, b'{"a\\\\":' + hidden, b'{"\\"":' + hidden):
        with pytest.raises(Problem, match="values and names"):
            check_values(body)


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
