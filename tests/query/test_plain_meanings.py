"""Meanings of the tables of docs/reference/semantics.md, one worked example each, by the engine and the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from cdp_query import tree
from cdp_query.language import parse
from cdp_query.reports.funnel_report import FunnelPart
from tests import oracle
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

ANN = user("ann")
DAY = 86_400_000
CONTEXT = tree.Context(100 * DAY)


def _holds(text: str, records: list[Record]) -> bool:
    question = parse(text)
    assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
    shards = Shards()
    shards.apply(records)
    found = ANN in shards.members(question, CONTEXT)
    shards.seal()
    assert found == (ANN in shards.members(question, CONTEXT)) == (ANN in oracle.members(question, records, CONTEXT))
    return found


def _with(**attributes: Any) -> list[Record]:
    return [Change(ANN, 1, attributes)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a = 1", False),
        ("a in [1, 2]", False),
        ("a != 1", True),
        ("a not in [1, 2]", True),
        ("a < 1 or a <= 1 or a > 1 or a >= 1", False),
        ("a between 0 and 9", False),
        ('a contains "x" or a starts_with "x" or a ends_with "x" or a matches "x"', False),
        ('a not contains "x" and a not starts_with "x" and a not ends_with "x" and a not matches "x"', True),
        ("exists(a)", False),
        ("missing(a)", True),
        ("a has 1 or a has_any [1] or a has_all [1]", False),
        ("a has_none [1]", True),
        ("size(a) = 0 or size(a) != 0 or size(a) < 5", False),
        ("a within last 7d or a within next 7d or a older than 1y or anniversary(a, 0d..7d)", False),
        ("distance(a, 0, 0) >= 0", False),
        ("a.b = 1", False),
        ('was(a, "x") or changed(a) or unchanged(a, for: 30d) or value_at(a, 1970-02-01) != 1', False),
    ],
)
def test_what_holds_of_an_attribute_that_is_not_set(condition: str, expected: bool) -> None:
    assert _holds(condition, _with(other=1)) is expected
    assert _holds(condition, _with(a=None, other=1)) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a = 5", True),
        ("a in [5, 7]", True),
        ("a != 5", False),
        ("a > 0 or a < 9 or a between 4 and 6", False),
        ('a contains "ol" and a starts_with "g" and a ends_with "d" and a matches "^go"', True),
        ("a has 5 and a has_any [5, 6] and a has_all [5, 1]", True),
        ("a has_all [5, 6]", False),
        ("a has_none [6, 7]", True),
        ("a has_none [5, 6]", False),
        ("size(a) = 3", True),
    ],
)
def test_what_holds_of_a_list(condition: str, expected: bool) -> None:
    assert _holds(condition, _with(a=[1, 5, "gold"])) is expected


def test_an_empty_list_and_an_empty_text_are_values() -> None:
    assert _holds("exists(a) and size(a) = 0 and a has_none [1] and not a = 1", _with(a=[]))
    assert _holds('exists(a) and a = "" and a != "x"', _with(a=""))


def test_case_counts_unless_it_is_said_not_to_and_a_value_of_another_type_is_missing() -> None:
    assert _holds('a = "Gold" and a = "gold" ci and a contains "OL" ci', _with(a="Gold"))
    assert not _holds('a = "gold" or a contains "OL"', _with(a="Gold"))
    assert not _holds("a = 5 or a < 9", _with(a="5"))
    assert _holds("a != 5", _with(a="5"))


def test_both_ends_of_between_belong_to_it() -> None:
    assert _holds("a between 5 and 6 and a between 4 and 5", _with(a=5))
    assert not _holds("a between 5.5 and 6", _with(a=5))


def test_a_count_includes_those_who_never_did_it_unless_zero_is_excluded() -> None:
    for count in ("<= 4", "< 5", "= 0"):
        assert _holds(f'count("Buy") {count} and not did("Buy")', _with(a=1))
        assert not _holds(f'count("Buy", zero: exclude) {count}', _with(a=1))
    assert _holds('count("Buy", zero: exclude) <= 4 and did("Buy")', [Event(ANN, "Buy", 1)])


def test_first_and_last_time_are_about_the_whole_history_up_to_t() -> None:
    records: list[Record] = [Event(ANN, "Buy", at * DAY, {"n": at}) for at in (10, 95)]
    assert not _holds('first_time("Buy", last: 30d)', records)
    assert _holds('first_time("Buy"(n > 20), last: 30d) and last_time("Buy", last: 30d)', records)
    assert not _holds('last_time("Buy", before: 1970-02-01)', records)


def test_groups_beyond_the_cap_are_those_of_the_largest_values_and_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_query.reports.parts.keep_smallest.__defaults__", (2,))
    records = list[Record]()
    for number in range(5):
        who = user(f"u{number}")
        records += [Change(who, 0, {"n": number}), Event(who, "A", 1), Event(who, "B", 2)]
    for partitions in (1, 3):
        shards = Shards(partitions)
        shards.apply(records)
        part = shards.ask(parse('funnel("A" -> "B", by: n)'), CONTEXT).report
        assert isinstance(part, FunnelPart) and part.rest is not None
        assert [group.steps for group in part.groups.values()] == [(1, 1), (1, 1)]
        assert part.rest.steps == (3, 3) and part.whole.steps == (5, 5)
