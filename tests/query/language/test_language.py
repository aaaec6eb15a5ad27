"""The text form: what parses to what, and what a mistake is answered with."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryError, QueryInvalid, QuerySyntaxError
from cdp_query.language import parse, print_question
from cdp_query.limits import QUERY_NESTING_MAX, QUERY_TEXT_CHARACTERS_MAX
from cdp_query.pipeline import prepare
from tests.case_files import Case, cases
from tests.raw_records import Change, Event, user
from tests.shards import Shards

CONTEXT = tree.Context(1_769_000_000_000)


@pytest.mark.parametrize("case", cases("parse_valid.txt"))
def test_valid_text_has_its_canonical_form(case: Case) -> None:
    canonical = case.expected[0] if case.expected else case.text
    assert print_question(parse(case.text)) == canonical
    assert print_question(parse(canonical)) == canonical
    assert parse(canonical) == parse(case.text)
    prepare(case.text, None, CONTEXT)


@pytest.mark.parametrize("case", cases("parse_invalid.txt"))
def test_invalid_text_is_answered_with_place_and_reason(case: Case) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse(case.text)
    place, _, part = case.expected[0].partition(" ")
    assert place in (f"{caught.value.line}:{caught.value.column}", f"{caught.value.line}:*")
    for wanted in (part, *case.expected[1:]):
        assert wanted in str(caught.value)


@pytest.mark.parametrize("case", cases("parse_invalid.txt"))
def test_a_syntax_error_shows_the_line_with_a_mark_under_the_place(case: Case) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse(case.text)
    error = caught.value
    shown = str(error).splitlines()
    assert f"line {error.line}, column {error.column}" in shown[0]
    assert shown[1] == "  " + case.text.splitlines()[error.line - 1]
    assert shown[2] == " " * (error.column + 1) + "^"


@pytest.mark.parametrize("case", cases("meaningless.txt"))
def test_a_question_without_meaning_says_why(case: Case) -> None:
    with pytest.raises(QueryInvalid) as caught:
        prepare(case.text, None, CONTEXT)
    for wanted in case.expected:
        assert wanted in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "-- nothing"])
def test_an_empty_question_ends_too_early(text: str) -> None:
    with pytest.raises(QuerySyntaxError, match="ends too early"):
        parse(text)


def test_a_question_longer_than_the_limit_is_refused_before_parsing() -> None:
    text = 'plan = "' + "x" * QUERY_TEXT_CHARACTERS_MAX + '"'
    with pytest.raises(QuerySyntaxError, match="longer than"):
        parse(text)


def test_nesting_up_to_the_limit_is_taken_and_beyond_is_refused() -> None:
    def nested(depth: int) -> str:
        return "(" * depth + "a = 1" + ")" * depth

    assert print_question(parse(nested(QUERY_NESTING_MAX))) == "a = 1"
    with pytest.raises(QuerySyntaxError, match="nested") as caught:
        parse(nested(QUERY_NESTING_MAX + 1))
    assert caught.value.column == QUERY_NESTING_MAX + 1


def test_parentheses_inside_a_comment_or_string_do_not_nest() -> None:
    many = "(" * (QUERY_NESTING_MAX + 1)
    assert print_question(parse(f"a = 1 -- {many}")) == "a = 1"
    assert parse(f'a = "{many}"') == tree.AttributeTest("a", tree.Compare(tree.Op.EQ, many))


@pytest.mark.parametrize(
    "text",
    [
        "not " * 10_000 + "a = 1",
        "a = " + "9" * 5_000,
        'count("A") > 1e' + "9" * 5_000,
        'did("A", last: ' + "9" * 5_000 + "d)",
        'did("A", days_ago: ' + "9" * 5_000 + ")",
        'a = "\\ud800"',
        'did("\\ud800")',
        'attr("\\ud800") = 1',
        'sequence("A" -> "B", within: 99999999999999999999w)',
        'did("A", last: 99999999999999999999w)',
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_text_is_an_error_of_the_question_or_answered(text: str) -> None:
    """Never another exception: the text comes from outside."""
    shards = Shards()
    shards.apply([Event(user("ann"), "A", 0), Event(user("ann"), "B", 1), Change(user("ann"), 0, {"a": "x"})])
    try:
        question = prepare(text, None, CONTEXT)
        shards.ask(question, CONTEXT)
    except QueryError:
        pass


def test_a_long_flat_question_is_answered() -> None:
    text = " or ".join(f"a = {number}" for number in range(3000))
    shards = Shards()
    shards.apply([Change(user("ann"), 0, {"a": 2999})])
    assert shards.ask(prepare(text, None, CONTEXT), CONTEXT).count == 1


_FRAGMENTS = (
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    ",",
    "->",
    ".",
    "..",
    ":",
    "=",
    "!=",
    ">=",
    "in",
    "between",
    "has",
    "ci",
    "plan",
    "did",
    "count",
    "sum",
    "sequence",
    "funnel",
    "exists",
    "size",
    "attr",
    "prop",
    "everyone",
    "last",
    "from",
    "to",
    "ago",
    "this",
    "week",
    '"Buy"',
    '"a b"',
    "30d",
    "5",
    "-2.5",
    "2026-01-31",
    "true",
    "--",
    "\n",
    "'",
    "\\",
    "é",
)


@given(st.lists(st.sampled_from(_FRAGMENTS), max_size=12).map(" ".join))
@example('did("Buy", size(size(plan)) > 1)')
@settings(max_examples=400)
def test_any_heap_of_words_is_a_question_or_an_error_that_points_into_it(text: str) -> None:
    try:
        question = prepare(text, None, CONTEXT)
    except QuerySyntaxError as error:
        lines = text.splitlines() or [""]
        assert 1 <= error.line <= len(lines) + 1
        assert error.column >= 1
    except QueryInvalid:
        pass
    else:
        assert parse(print_question(question)) is not None


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_text_is_a_question_or_a_query_error(text: str) -> None:
    try:
        prepare(text, None, CONTEXT)
    except QueryError:
        pass


def test_a_breakdown_takes_a_segment_or_a_funnel() -> None:
    assert prepare("a = 1", "plan", CONTEXT) == tree.Breakdown(parse("a = 1"), "plan")
    assert prepare('funnel("A" -> "B")', "plan", CONTEXT) == parse('funnel("A" -> "B", by: plan)')
    with pytest.raises(QueryInvalid, match="segment or a funnel"):
        prepare('trend("A", unit: day)', "plan", CONTEXT)


@pytest.mark.parametrize(
    "segment",
    [
        tree.PropertyTest("amount", tree.Exists()),
        tree.Did(tree.Events(("Buy",), tree.AttributeTest("a", tree.Exists()))),
        tree.Did(tree.Events(("Buy",), tree.Everyone())),
        tree.SequenceTest(()),
    ],
    ids=str,
)
def test_trees_from_elsewhere_are_checked_too(segment: tree.Node) -> None:
    with pytest.raises(QueryInvalid):
        Shards().ask(segment, CONTEXT)
