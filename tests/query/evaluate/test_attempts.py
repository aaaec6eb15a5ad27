"""Funnels and sequences under all their rules against the oracle that tries every choice, and worked examples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse, print_question
from cdp_query.pipeline import prepare
from cdp_query.reports.funnel_report import FunnelGroup, FunnelPart
from cdp_query.scan.multiset import Multiset
from cdp_store.values import Kind
from tests import oracle, oracle_attempts, strategies, strategies_attempts
from tests.raw_records import Event, Record, user
from tests.shards import Shards
from tests.states import every_state, half_sealed, spread


def _expected(found: oracle_attempts.Funnel) -> FunnelPart:
    groups = {
        (int(Kind[key[0].upper()]), key[1]): FunnelGroup(steps, _times(times))
        for key, (steps, times) in found.groups.items()
    }
    return FunnelPart(FunnelGroup(found.steps, _times(found.times)), found.incomplete, groups)


def _times(values: Any) -> Multiset:
    import numpy as np

    return Multiset.of_integers(np.array(values, np.int64))


@given(strategies_attempts.crowded_events(), strategies_attempts.funnels(), st.integers(-2, 6))
@settings(max_examples=400)
def test_funnels_count_the_oracles_attempts(records: list[Record], report: tree.Funnel, offset: int) -> None:
    context = tree.Context(strategies.BORDER_MS + offset)
    found = oracle_attempts.funnel(report, records, context)
    event(f"reached {sum(count > 0 for count in found.steps)} of {len(report.steps)}")
    shards = Shards(2)
    half_sealed(shards, spread(shards, records, 4))
    assert shards.ask(report, context).report == _expected(found)


@given(strategies_attempts.crowded_events(), strategies_attempts.funnels(), st.integers(-2, 6))
@settings(max_examples=200)
def test_a_sequence_holds_where_a_funnel_reaches_the_last_step(
    records: list[Record], report: tree.Funnel, offset: int
) -> None:
    context = tree.Context(strategies.BORDER_MS + offset)
    sequence = tree.SequenceTest(report.steps, report.window, report.within, report.strict_ties, report.rules)
    expected = {
        profile.user
        for profile in oracle.population(records, context)
        if any(a.depth == len(report.steps) for a in oracle_attempts.attempts(sequence, profile, context))
    }
    shards = Shards(2)
    half_sealed(shards, spread(shards, records, 3))
    assert shards.members(sequence, context) == expected


@given(
    strategies.records(25),
    st.lists(strategies_attempts.funnels(), min_size=4, max_size=4),
    strategies.contexts(),
)
@settings(max_examples=15)
def test_funnels_are_the_same_in_every_state(
    records: list[Record], reports: list[tree.Funnel], context: tree.Context
) -> None:
    parts = {
        state: [shards.ask(report, context).report for report in reports] for state, shards in every_state(records, 5)
    }
    first = next(iter(parts.values()))
    assert all(part == first for part in parts.values()), parts


@given(strategies_attempts.funnels())
def test_rules_survive_the_way_through_text(report: tree.Funnel) -> None:
    assume(len(report.steps) > 1)  # one step has no text form
    assert parse(print_question(report)) == report


# ------------------------------------------------------------------------------------------------------ worked examples

ANN = user("ann")
_MINUTE = 60_000


def _ask(text: str, *events: tuple[int, str] | tuple[int, str, dict[str, Any]], as_of: int = 10_000) -> FunnelPart:
    records = [Event(ANN, name, minute * _MINUTE, *rest) for minute, name, *rest in events]
    shards = Shards()
    shards.apply(records)
    context = tree.Context(as_of * _MINUTE)
    part = shards.ask(prepare(text, None, context), context).report
    assert isinstance(part, FunnelPart)
    return part


def _reached(*arguments: Any) -> tuple[int, ...]:
    return _ask(*arguments).whole.steps


def test_deepest_takes_the_best_attempt_of_a_user() -> None:
    text = 'funnel("View" -> "Cart" -> "Buy", within: 10m)'
    # The first view comes too early for the purchase, the second does not.
    assert _reached(text, (0, "View"), (5, "View"), (6, "Cart"), (14, "Buy")) == (1, 1, 1)


def test_first_entry_stays_with_the_first_attempt() -> None:
    text = 'funnel("View" -> "Cart" -> "Buy", within: 10m, mode: first_entry)'
    assert _reached(text, (0, "View"), (5, "View"), (6, "Cart"), (14, "Buy")) == (1, 1, 0)


def test_totals_count_each_attempt_and_an_entry_during_one_starts_none() -> None:
    text = 'funnel("View" -> "Buy", within: 10m, mode: totals)'
    events = ((0, "View"), (1, "View"), (2, "Buy"), (3, "View"), (20, "View"), (21, "Buy"))
    assert _reached(text, *events) == (3, 2)


def test_strict_order_allows_no_other_step_in_between() -> None:
    events = ((0, "View"), (1, "Search"), (2, "Buy"))
    assert _reached('funnel("View" -> "Buy", order: strict)', *events) == (1, 1)
    assert _reached('funnel("View" -> "Buy" -> "Search", order: strict)', *events) == (1, 0, 0)
    again = ((0, "View"), (1, "View"), (2, "Buy"))
    assert _reached('funnel("View" -> "Buy", order: strict)', *again) == (1, 1)


def test_any_order_takes_the_steps_as_they_come() -> None:
    text = 'funnel("Mail" -> "Phone" -> "Address", order: any, within: 10m)'
    assert _reached(text, (0, "Address"), (3, "Mail"), (9, "Phone")) == (1, 1, 1)
    assert _reached(text, (0, "Address"), (3, "Mail"), (11, "Phone")) == (1, 1, 0)
    assert _reached('funnel("Mail" -> "Mail", order: any)', (0, "Mail")) == (1, 0)


def test_within_each_bounds_every_gap_and_finds_the_right_middle() -> None:
    text = 'funnel("View" -> "Cart" -> "Buy", within_each: 5m)'
    # From the first cart the purchase is too far, from the second it is not, and the view is near both.
    assert _reached(text, (0, "View"), (1, "Cart"), (5, "Cart"), (10, "Buy")) == (1, 1, 1)
    assert _reached(text, (0, "View"), (6, "Cart"), (10, "Buy")) == (1, 0, 0)


def test_without_ends_the_attempts_in_its_gap_only() -> None:
    text = 'funnel("View" -> "Cart" -> without "Remove" -> "Buy")'
    assert _reached(text, (0, "View"), (1, "Cart"), (2, "Remove"), (3, "Buy")) == (1, 1, 0)
    assert _reached(text, (0, "View"), (1, "Remove"), (2, "Cart"), (3, "Buy")) == (1, 1, 1)
    assert _reached(text, (0, "View"), (1, "Cart"), (2, "Remove"), (3, "Cart"), (4, "Buy")) == (1, 1, 1)
    assert _reached(text, (0, "View"), (1, "Cart"), (3, "Remove"), (3, "Buy")) == (1, 1, 1)


def test_hold_keeps_one_value_and_exclusions_without_it_end_all() -> None:
    text = 'funnel("View" -> without "Leave" -> "Buy", hold: item)'
    view, other = {"item": "a"}, {"item": "b"}
    assert _reached(text, (0, "View", view), (1, "Buy", other)) == (1, 0)
    assert _reached(text, (0, "View", view), (1, "Leave", other), (2, "Buy", view)) == (1, 1)
    assert _reached(text, (0, "View", view), (1, "Leave"), (2, "Buy", view)) == (1, 0)
    assert _reached(text, (0, "View"), (1, "Buy")) == (0, 0)


def test_what_may_still_convert_is_counted_as_incomplete() -> None:
    text = 'funnel("View" -> "Buy", within: 10m)'
    assert _ask(text, (0, "View"), as_of=9).incomplete == 1
    assert _ask(text, (0, "View"), as_of=10).incomplete == 0
    assert _ask(text, (0, "View"), (1, "Buy"), as_of=9).incomplete == 0
    assert _ask(text.replace("10m", "10m, mode: totals"), (0, "View"), as_of=9).incomplete == 1


def test_times_to_convert_are_those_of_the_earliest_entry_and_its_earliest_end() -> None:
    text = 'funnel("View" -> "Buy", within: 10m, times: on)'
    part = _ask(text, (0, "View"), (5, "View"), (7, "Buy"), (8, "Buy"))
    assert part.whole.times.high.tolist() == [7 * _MINUTE]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('funnel("A" -> "B", order: any, within_each: 1d)', "any order"),
        ('sequence("A" -> without "X" -> "B", order: any)', "any order"),
        ('funnel("A" -> "B", by: plan, by_entry: way)', "not by both"),
        ('funnel("A" -> "B", within_each: 1mo)', "no fixed length"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(text: str, wanted: str) -> None:
    with pytest.raises(QueryInvalid, match=wanted):
        prepare(text, None, tree.Context(0))
