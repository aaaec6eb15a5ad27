"""Rewrite rules: by text cases, and against the oracle over questions that give each of them something to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.bind.names import names_of
from cdp_query.language import parse, print_question
from cdp_query.rules import RULES, rewrite
from cdp_query.rules.flatten import flatten
from cdp_query.rules.fold_windows import fold_windows
from cdp_query.rules.merge_values import merge_values
from cdp_query.rules.negate import negate
from cdp_query.rules.push_not import push_not
from cdp_query.rules.share import share
from cdp_query.rules.simplify import simplify
from tests import oracle, strategies
from tests.case_files import Case, cases
from tests.raw_records import Record


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


@pytest.mark.parametrize("case", cases("rule_negate.txt"))
def test_negate(case: Case) -> None:
    _check(case, negate)


@pytest.mark.parametrize("case", cases("rule_simplify.txt"))
def test_simplify(case: Case) -> None:
    _check(case, simplify)


@pytest.mark.parametrize("case", cases("rule_fold_windows.txt"))
def test_fold_windows(case: Case) -> None:
    _check(case, fold_windows)


@pytest.mark.parametrize("case", cases("rule_merge_values.txt"))
def test_merge_values(case: Case) -> None:
    _check(case, merge_values)


@pytest.mark.parametrize("case", cases("rule_share.txt"))
def test_share(case: Case) -> None:
    _check(case, share)


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


def _alike() -> st.SearchStrategy[tree.Node]:
    """Few parts, so that groups of them repeat, imply and contradict each other."""
    text = ("plan", "and", "tags")
    values = st.sampled_from((1, 1.0, True, 2, "gold", "Gold"))
    equality = st.builds(tree.Compare, st.sampled_from((tree.Op.EQ, tree.Op.NE)), values, st.booleans())
    several = st.builds(tree.OneOf, st.lists(values, min_size=1, max_size=2).map(tuple), st.booleans(), st.just(False))
    bound = st.builds(tree.Compare, st.sampled_from(tuple(tree.Op)[2:]), st.sampled_from((0, 1, 1.0, 2.5, 3)))
    conditions = st.one_of(equality, several, bound, st.builds(tree.Exists, st.booleans()))
    lengths = st.sampled_from([tree.Duration(*pair) for pair in ((1, "d"), (24, "h"), (3, "w"), (1, "mo"), (2, "mo"))])
    windows = st.one_of(
        st.just(tree.ALWAYS),
        st.builds(tree.Last, lengths),
        st.builds(tree.MoreThanAgo, lengths),
        st.just(tree.This("month")),
    )
    events = st.sampled_from([tree.Events(("View",)), tree.Events(("View", "Buy"))])
    counts = st.builds(
        tree.CountTest, events, windows, st.sampled_from(tree.Op), st.sampled_from((0, 1, 1.5, 2)), st.booleans()
    )
    return st.one_of(
        st.builds(tree.AttributeTest, st.sampled_from(text), conditions),
        st.builds(tree.Did, events, windows),
        counts,
        st.builds(tree.RecencyTest, events, st.sampled_from(tree.Op), lengths),
        st.just(tree.Everyone()),
    )


@given(strategies.records(40), strategies.combined(_alike(), 3), strategies.contexts())
@settings(max_examples=120)
def test_no_rule_changes_an_answer(records: list[Record], segment: tree.Node, context: tree.Context) -> None:
    expected = oracle.members(segment, records, context)
    for rule in (*RULES, rewrite):
        rewritten = rule(segment)
        if repr(rewritten) != repr(segment):
            event(rule.__name__)
            assert oracle.members(rewritten, records, context) == expected, rule.__name__
        assert repr(rule(rewritten)) == repr(rewritten) or rule is not rewrite


@given(strategies.segments())
def test_rules_keep_all_names_and_never_add_parts(segment: tree.Node) -> None:
    rewritten = rewrite(segment)
    assert names_of(rewritten) == names_of(segment)
    assert _leaves(rewritten) <= _leaves(segment)


def _leaves(node: tree.Node) -> int:
    match node:
        case tree.All(items) | tree.Any(items):
            return sum(map(_leaves, items))
        case tree.Not(item):
            return _leaves(item)
    return 1
