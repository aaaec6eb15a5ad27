"""Rewrite rules, by text cases; that they change no answer is shown in test_against_oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdp_query import tree
from cdp_query.language import parse, print_question
from cdp_query.rules import RULES, rewrite
from cdp_query.rules.flatten import flatten
from cdp_query.rules.push_not import push_not
from tests.case_files import Case, cases


def _check(case: Case, rule: Callable[[tree.Question], tree.Question]) -> None:
    before = parse(case.text)
    after = rule(before)
    assert print_question(after) == (case.expected[0] if case.expected else case.text)
    assert rule(after) == after


@pytest.mark.parametrize("case", cases("rule_push_not.txt"))
def test_push_not(case: Case) -> None:
    _check(case, push_not)


@pytest.mark.parametrize("case", cases("rule_flatten.txt"))
def test_flatten(case: Case) -> None:
    _check(case, flatten)


@pytest.mark.parametrize("case", cases("rules.txt"))
def test_all_rules_in_their_order(case: Case) -> None:
    _check(case, rewrite)


def test_every_rule_has_its_own_cases() -> None:
    for rule in RULES:
        assert cases(f"rule_{rule.__name__}.txt")


def test_groups_of_one_and_of_none_keep_their_meaning() -> None:
    leaf = parse("a = 1")
    assert rewrite(tree.All((tree.Any((leaf,)),))) == leaf
    assert rewrite(tree.Not(tree.All(()))) == tree.Any(())
    assert rewrite(tree.Not(tree.Any(()))) == tree.All(())


def test_a_breakdown_is_rewritten_inside() -> None:
    report = tree.Breakdown(parse("not not a = 1"), "plan")
    assert rewrite(report) == tree.Breakdown(parse("a = 1"), "plan")
