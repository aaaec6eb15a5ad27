"""`ci` is one thing: full Unicode case folding, on every road to a text."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.language import parse
from cdp_query.matching.case_folding import folded, folded_pattern
from tests import oracle
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

CONTEXT = tree.Context(10**9)
ANN = user("ann")
PAIRS = [
    ("οδος", "ΟΔΟΣ"),
    ("straße", "STRASSE"),
    ("STRAẞE", "strasse"),
    ("10 μm", "10 µM"),  # the Greek letter and the sign of its own
    ("Kelvin", "\u212aELVIN"),
    ("ﬁn", "FIN"),
    ("ŉ", "ʼN"),
    ("Größe", "GRÖSSE"),
    ("Ⅷ", "ⅷ"),
    ("ǅ", "ǆ"),
    ("İ", "i\u0307"),
]
OTHERS = [("istanbul", "İSTANBUL"), ("ı", "I"), ("é", "E\u0301"), ("a", "ä")]


def holds(condition: str, records: list[Record]) -> bool:
    shards = Shards()
    shards.apply(records)
    question = parse(condition)
    assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
    found = ANN in shards.members(question, CONTEXT)
    assert found == (ANN in oracle.members(question, records, CONTEXT))
    return found


def _forms(asked: str) -> list[str]:
    return [
        f'city = "{asked}" ci',
        f'city in ["x", "{asked}"] ci',
        f'city contains "{asked}" ci',
        f'city starts_with "{asked}" ci',
        f'city ends_with "{asked}" ci',
        f'city matches "{asked}" ci',
        f'city matches "^{asked}$" ci',
        f'cities = "{asked}" ci',
        f'cities contains "{asked}" ci',
        f'any(lines, name = "{asked}" ci)',
        f'all(lines, name starts_with "{asked}" ci)',
        f'did("Buy", city = "{asked}" ci)',
        f'did("Buy", city matches "{asked}" ci)',
        f'was(city = "{asked}" ci)',
        f'value_at(city, 1970-01-02) = "{asked}" ci',
        f'last("Buy".city) = "{asked}" ci',
        f'mostly("Buy".city = "{asked}" ci)',
        f'not city != "{asked}" ci',
        f'not city not in ["{asked}"] ci',
        f'not none(lines, name = "{asked}" ci)',
    ]


def _records(stored: str) -> list[Record]:
    values = {"city": stored, "cities": ["other", stored], "lines": [{"name": stored}]}
    return [Change(ANN, 1, values), Event(ANN, "Buy", 2, {"city": stored})]


@pytest.mark.parametrize(("stored", "asked"), PAIRS)
def test_texts_that_fold_alike_are_found_on_every_road(stored: str, asked: str) -> None:
    for one, other in ((stored, asked), (asked, stored)):
        assert {form: holds(form, _records(one)) for form in _forms(other)} == dict.fromkeys(_forms(other), True)


@pytest.mark.parametrize(("stored", "asked"), OTHERS)
def test_texts_that_fold_otherwise_are_found_on_none(stored: str, asked: str) -> None:
    found = {form: holds(form, _records(stored)) for form in _forms(asked)}
    assert found == dict.fromkeys(_forms(asked), False)


@pytest.mark.parametrize(
    ("pattern", "stored", "expected"),
    [
        (r"^ΟΔΟΣ\S*$", "οδος x", False),
        (r"^ΟΔΟΣ\S*$", "οδοςx", True),
        (r"^STRA(SS)+E\d$", "straße1", True),
        (r"^stra\Qß\E?e$", "STRASSE", True),
        (r"^[ß]$", "ẞ", True),  # as it is, letter for letter
        (r"^.{6}$", "straße", True),
        (r"^.{7}$", "straße", True),
        (r"^\pL+$", "ΟΔΟΣ", True),
        (r"^(?P<name>ß)$", "SS", True),
        (r"^\x{DF}$", "ẞ", True),
        (r"[^ß]", "ß", True),  # the folded text has other letters
    ],
)
def test_patterns_match_the_text_or_the_folded_text(pattern: str, stored: str, expected: bool) -> None:
    shards = Shards()
    shards.apply([Change(ANN, 1, {"city": stored})])
    condition = tree.TextTest(tree.TextOp.MATCHES, pattern, ci=True)
    assert (ANN in shards.members(tree.AttributeTest("city", condition), CONTEXT)) == expected


@given(st.lists(st.text(max_size=8), max_size=12))
@settings(max_examples=200)
def test_folding_is_that_of_python(texts: list[str]) -> None:
    for kind in (pa.string(), pa.large_string()):
        assert folded(pa.array(texts, kind)).to_pylist() == [text.casefold() for text in texts]


def test_every_character_folds_as_in_python() -> None:
    letters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    assert folded(pa.array(letters)).to_pylist() == [letter.casefold() for letter in letters]


@given(st.text("aAsSßẞσςΣkK\u212aİiıfﬁŉ 1", max_size=6), st.text("aAsSßẞσςΣkK\u212aİiıfﬁŉ 1", max_size=3))
@settings(max_examples=200)
def test_a_pattern_of_letters_says_what_contains_says(stored: str, asked: str) -> None:
    shards = Shards()
    shards.apply([Change(ANN, 1, {"city": stored})])
    tests = [
        tree.AttributeTest("city", tree.TextTest(tree.TextOp.CONTAINS, asked, ci=True)),
        tree.AttributeTest("city", tree.TextTest(tree.TextOp.MATCHES, re.escape(asked), ci=True)),
    ]
    expected = asked.casefold() in stored.casefold()
    assert [ANN in shards.members(test, CONTEXT) for test in tests] == [expected, expected]


def test_letters_in_classes_and_escapes_of_patterns_stay() -> None:
    assert folded_pattern(r"ß[ß]\ß\p{Lu}(?P<ß>ß)\Qß.\E") == r"(?:ss)[ß]\ß\p{Lu}(?P<ß>(?:ss))(?:ss)\."
