"""Values that name nobody: one rule for texts alone, for rows, for Arrow columns, and whatever stands around them."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cdp.v1 import ingest_pb2
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.records.blocked_texts import which_blocked
from cdp_router.records.blocklist import BLOCKED_DEFAULT, Blocked
from cdp_router.records.columnarise import columnarise
from cdp_store.records.records import Strings
from tests.router.encodings import arrow_batch, msgpack_batch
from tests.router.local_cluster import NOW_MS

NOBODY = [
    *BLOCKED_DEFAULT, "", " ", "\t\n", "0", "00000000-0000-0000-0000-000000000000", "---", "[object Object]",
    "[object Undefined]", "[object Object],[object Object]", "{{user.id}}", "{{ userId }}", "${userId}", "<%= id %>",
    "NaN", "None", "NULL", "Undefined", "GUEST", '"null"', "'undefined'", '""', "\u200b", "\ufeff \u00a0", "\x00",
    "null\x00", "\u3000null\u3000", "%{user_id}", "\\N", "<NA>", "un\u212anown",
]  # fmt: skip
SOMEBODY = [
    "u1", "nullify", "anonymous-7f3", "00a", "0-1", "-2", "a b", "[object]", "{{", "$5", "guest2", "zoë", "李雷",
    "1", "10", "nat", "o'neill", "null@example.org", "ids", "x" * 500, "0x0", "тест", "-1a",
    "+49 30 123", "_x_", "user@example.org", "\u212a1", "ｕｎｋｎｏｗｎ",
]  # fmt: skip
_AROUND = st.text(st.sampled_from([*"\"'` \t\n\r\x00\x1f\x7f\xa0", "\u200b", "\ufeff", "\u2028", "\u3000"]), max_size=3)


@pytest.mark.parametrize("value", NOBODY)
def test_a_value_that_programs_send_for_want_of_an_id_names_nobody(value: str) -> None:
    assert Blocked()(value)
    assert Blocked()(f" {value}\t") and Blocked()(value.upper()) and Blocked()(value.lower())


@pytest.mark.parametrize("value", SOMEBODY)
def test_an_id_that_only_looks_alike_names_somebody(value: str) -> None:
    assert not Blocked()(value)


def _invisible() -> list[str]:
    """Every character that shows nothing."""
    spaces = ("Cc", "Cf", "Zs", "Zl", "Zp")
    found = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in spaces]
    selectors = map(chr, range(0xFE00, 0xFE10))
    return [*found, *selectors, "\u2800", "\u3164", "\u115f", "\u1160", "\uffa0", "\u034f"]


def test_whatever_shows_nothing_names_nobody() -> None:
    blocked = Blocked()
    assert [
        f"U+{ord(each):04X}" for each in _invisible() if not blocked(each) or not blocked(f"{each}null{each}")
    ] == []


@given(st.lists(
    st.tuples(_AROUND, st.sampled_from([*NOBODY, *SOMEBODY]) | st.text(max_size=6), _AROUND, st.booleans()), max_size=30
))  # fmt: skip
def test_a_table_of_texts_is_decided_like_each_of_them(drawn: list[tuple[str, str, str, bool]]) -> None:
    values = [before + (value.upper() if upper else value) + after for before, value, after, upper in drawn]
    texts = Strings.of([b"u" + value.encode() for value in values])
    blocked = Blocked()
    assert which_blocked(texts, blocked, skipped=1).tolist() == [blocked(value) for value in values]


def test_words_of_a_list_of_ones_own_are_found_in_tables_too() -> None:
    blocked = Blocked(["system", "a word of more than sixteen letters", "größe", ""])
    values = ["System", "A WORD of more than sixteen letters", "GRÖSSE", "größe", " Größe ", "null", "0", "", "x"]
    found = which_blocked(Strings.of([value.encode() for value in values]), blocked)
    assert found.tolist() == [blocked(value) for value in values]
    assert found.tolist() == [True, True, False, True, True, False, True, True, False]


def _as_rows(pairs: list[tuple[str | None, str | None]], shape: Any) -> ingest_pb2.Batch:
    return msgpack_batch([["E", user, device, NOW_MS, f"m{n}", shape] for n, (user, device) in enumerate(pairs)])


def _as_columns(pairs: list[tuple[str | None, str | None]], _: Any) -> ingest_pb2.Batch:
    return arrow_batch(
        pa.table({
            "user_id": pa.array([user for user, _ in pairs], pa.string()),
            "anonymous_id": pa.array([device for _, device in pairs], pa.string()),
            "time": pa.array([NOW_MS] * len(pairs)),
            "event": ["E"] * len(pairs),
            "message_id": [f"m{n}" for n in range(len(pairs))],
        })
    )  # fmt: skip


@pytest.mark.parametrize("make", [_as_rows, _as_columns])
@pytest.mark.parametrize("shape", [{}, {"a": [{"b": 1}]}], ids=["by the kernel", "by Python"])
def test_an_identifier_of_nobody_is_as_good_as_none_in_every_encoding(make: Any, shape: Any) -> None:
    pairs = [
        ("u1", "d1"), ("[object Object]", "d2"), ("u3", "NaN "), (" ", None), ("\u200b", "undefined"), (None, "d6"),
        ("u7", "d7"),
    ]  # fmt: skip
    found = columnarise(make(pairs, shape), NOW_MS)
    names = [found.batch.identities[int(number)] for number in found.batch.record_identities]
    assert names == [b"uu1", b"ad2", b"uu3", b"ad6", b"uu7"]
    assert found.positions.tolist() == [0, 1, 2, 5, 6]
    assert [(each.index, each.code) for each in found.errors] == [(3, "IDENTIFIER_BLOCKED"), (4, "IDENTIFIER_BLOCKED")]
    links = found.links
    said = {(links.lower[n], links.upper[n], links.message_ids[n]) for n in range(len(links))}
    assert said == {(b"ad1", b"uu1", b"m0"), (b"ad7", b"uu7", b"m6")}


def test_no_object_is_made_of_identifiers_that_are_plainly_somebodys() -> None:
    """Ids such as people have are decided by kernels and arrays, however many they are."""
    blocked, asked = Blocked(), list[str]()

    class Listening(Blocked):
        def __call__(self, value: str) -> bool:
            asked.append(value)
            return super().__call__(value)

    values = (
        [f"user-{n}" for n in range(40_000)]
        + ["+49 30 1", "-7", "_a_", "a@b.org", "тест", "李雷"]
        + ["00000a", "4f1c", "0a00-00", "null"]
    )
    texts = Strings.of([value.encode() for value in values])
    found = which_blocked(texts, Listening())
    assert np.flatnonzero(found).tolist() == [len(values) - 1]
    assert asked == [] and not blocked("0a00-00")
    which_blocked(Strings.of([b'"ann"', b'"null"'] * 1000), Listening())
    assert asked == ['"ann"', '"null"'], "each text once"
