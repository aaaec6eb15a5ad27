"""Named segments are written out where they are named, and never for ever."""

from __future__ import annotations

from functools import cache

import pytest

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse, print_question
from cdp_query.language.named import Definition, Inliner, Lookup, nothing_named, references
from cdp_query.limits import NAMED_SEGMENT_DEPTH_MAX, QUERY_NESTING_MAX
from cdp_query.pipeline import check, segment_of

CONTEXT = tree.Context(0)


def _named(**segments: str) -> Lookup:
    """The look-up of some segments; a name with a number behind it, as in vip_2, is that version."""
    read = cache(lambda text: segment_of(parse(text)))

    def lookup(name: str, version: int | None) -> Definition:
        key = f"{name}_{version}" if version is not None else name
        if key not in segments:
            raise QueryInvalid(f"no segment is named {name!r}")
        return Definition(name, version or 9, read(segments[key]))

    return lookup


def _written(text: str, **segments: str) -> str:
    return print_question(Inliner(_named(**segments)).question(parse(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('in_segment("vip")', 'plan = "gold" or spent > 5'),
        ('not in_segment("vip") and a = 1', 'not (plan = "gold" or spent > 5) and a = 1'),
        ('in_segment("nested")', '(plan = "gold" or spent > 5) and not b = 2'),
        ('in_segment("vip", version: 1)', 'plan = "gold"'),
        ("a = 1", "a = 1"),
    ],
)
def test_a_name_stands_for_its_segment(text: str, expected: str) -> None:
    segments = {"vip": 'plan = "gold" or spent > 5', "vip_1": 'plan = "gold"'}
    assert _written(text, **segments, nested='in_segment("vip") and not b = 2') == expected


def test_names_are_written_out_in_reports_too() -> None:
    report = tree.Breakdown(tree.InSegment("vip"), "plan")
    assert Inliner(_named(vip="a = 1")).question(report) == tree.Breakdown(segment_of(parse("a = 1")), "plan")


def test_what_was_used_is_known_by_name_and_version() -> None:
    inliner = Inliner(_named(a='in_segment("b") and in_segment("b")', b="x = 1"))
    inliner.question(parse('in_segment("a")'))
    assert list(inliner.used) == [("a", 9), ("b", 9)]


@pytest.mark.parametrize(
    ("segments", "circle"),
    [
        ({"a": 'in_segment("a")'}, "'a' -> 'a'"),
        ({"a": 'x = 1 and in_segment("b")', "b": 'not in_segment("a")'}, "'a' -> 'b' -> 'a'"),
    ],
)
def test_a_circle_is_refused_and_shown(segments: dict[str, str], circle: str) -> None:
    with pytest.raises(QueryInvalid, match=f"circle: {circle}"):
        _written('in_segment("a")', **segments)


def test_an_older_version_of_itself_is_no_circle() -> None:
    assert _written('in_segment("a")', a='in_segment("a", version: 1) and y = 2', a_1="x = 1") == "x = 1 and y = 2"


def _chain(length: int) -> dict[str, str]:
    links = {f"s{number}": f'in_segment("s{number + 1}")' for number in range(length - 1)}
    return {**links, f"s{length - 1}": "x = 1"}


def test_depth_up_to_the_limit_is_taken_and_beyond_is_refused() -> None:
    assert _written('in_segment("s0")', **_chain(NAMED_SEGMENT_DEPTH_MAX)) == "x = 1"
    with pytest.raises(QueryInvalid, match=f"more than {NAMED_SEGMENT_DEPTH_MAX} nested segments"):
        _written('in_segment("s0")', **_chain(NAMED_SEGMENT_DEPTH_MAX + 1))


def test_segments_that_double_at_each_step_are_refused_before_memory_is_gone() -> None:
    doubling = {f"s{n}": f'in_segment("s{n + 1}") or (x = {n} and in_segment("s{n + 1}"))' for n in range(15)}
    with pytest.raises(QueryInvalid, match="parts|levels"):
        _written('in_segment("s0")', **doubling, s15="x = 1")


def test_levels_that_add_up_beyond_the_limit_are_refused() -> None:
    half = QUERY_NESTING_MAX // 2 + 1
    deep = "".join(f"(x = {n} {'and' if n % 2 else 'or'} " for n in range(half)) + 'in_segment("b")' + ")" * half
    with pytest.raises(QueryInvalid, match="levels"):
        _written('in_segment("a")', a=deep, b=deep.replace('in_segment("b")', "y = 1"))


def test_without_definitions_no_name_is_known() -> None:
    with pytest.raises(QueryInvalid, match="no segment is named 'vip'"):
        Inliner(nothing_named).question(parse('in_segment("vip")'))


def test_a_name_that_was_not_written_out_is_an_error_and_not_nobody() -> None:
    with pytest.raises(QueryInvalid, match="was not written out"):
        check(parse('in_segment("vip")'), CONTEXT)


def test_references_are_found_wherever_they_stand() -> None:
    assert references(parse('a = 1 and not (in_segment("x") or in_segment("y", version: 2))')) == {"x", "y"}


@pytest.mark.parametrize("text", ['in_segment("vip")', 'not in_segment("odd \\"name\\"", version: 3)'])
def test_the_text_form_round_trips(text: str) -> None:
    assert print_question(parse(text)) == text
