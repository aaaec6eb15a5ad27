"""Two roads to every answer: kernels over partitions in any state, and the oracle over the raw records."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.reports.value_keys import ValueKey
from cdp_store.values import Kind
from tests import oracle, strategies
from tests.raw_records import Record
from tests.shards import Shards
from tests.states import STATES
from tests.states import every_state as _every_state
from tests.states import half_sealed as _half_sealed
from tests.states import spread as _spread


def _sizes() -> st.SearchStrategy[int]:
    return st.sampled_from((1, 2, 5, 13))


def _named(values: dict[ValueKey, int]) -> dict[oracle.ValueKey, int]:
    return {(Kind(kind).name.lower(), value): count for (kind, value), count in values.items()}


@given(strategies.records(), _sizes(), st.lists(strategies.segments(), min_size=3, max_size=8), strategies.contexts())
@settings(max_examples=40)
def test_members_are_the_oracles_in_every_state(
    records: list[Record], size: int, segments: list[tree.Node], context: tree.Context
) -> None:
    expected = [oracle.members(segment, records, context) for segment in segments]
    event(f"some but not all: {any(0 < len(e) < len(oracle.population(records, context)) for e in expected)}")
    rewritten = [pipeline.segment_of(pipeline.check(segment, context)) for segment in segments]
    for state, shards in _every_state(records, size):
        views = shards.capture()
        for segment, by_rules, members in zip(segments, rewritten, expected, strict=True):
            assert shards.members(by_rules, context, rewritten=False, views=views) == members, state
            assert shards.members(segment, context, rewritten=False, views=views) == members, f"{state}, without rules"


@given(strategies.records(), st.lists(strategies.predicates(), min_size=10, max_size=10), strategies.contexts())
@settings(max_examples=160)
def test_single_predicates_are_the_oracles(
    records: list[Record], segments: list[tree.Node], context: tree.Context
) -> None:
    shards = Shards(2)
    _half_sealed(shards, _spread(shards, records, 5))
    for segment in segments:
        assert shards.members(segment, context) == oracle.members(segment, records, context)


@given(strategies.records(), st.lists(strategies.conditions(), min_size=11, max_size=11), strategies.contexts())
@settings(max_examples=150)
def test_conditions_on_attributes_and_properties_are_the_oracles(
    records: list[Record], conditions: list[tree.Condition], context: tree.Context
) -> None:
    shards = Shards()
    _half_sealed(shards, _spread(shards, records, 9))
    for condition in conditions:
        attribute = tree.AttributeTest("plan", condition)
        prop = tree.Did(tree.Events(strategies.EVENT_NAMES, tree.PropertyTest("amount", condition)))
        for segment in (attribute, prop):
            assert shards.members(segment, context) == oracle.members(segment, records, context)


@given(strategies.records(), strategies.segments(2), strategies.contexts(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_arrival_order_does_not_matter_where_times_differ(
    records: list[Record], segment: tree.Node, context: tree.Context, random: Random
) -> None:
    distinct = list({(record.user, record.ts): record for record in records}.values())
    expected = oracle.members(segment, distinct, context)
    random.shuffle(distinct)
    shards = Shards(2)
    _half_sealed(shards, _spread(shards, distinct, 4))
    assert shards.members(segment, context) == expected


@given(
    strategies.records(16),
    st.lists(strategies.sequences(), min_size=3, max_size=3),
    strategies.contexts(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=80)
def test_sequences_do_not_depend_on_arrival_order_even_in_ties(
    records: list[Record], segments: list[tree.SequenceTest], context: tree.Context, random: Random
) -> None:
    expected = [oracle.members(segment, records, context) for segment in segments]
    random.shuffle(records)
    shards = Shards()
    _half_sealed(shards, _spread(shards, records, 4))
    assert [shards.members(segment, context) for segment in segments] == expected


@st.composite
def _crowded_steps(draw: st.DrawFn) -> tuple[list[Record], tree.SequenceTest]:
    """Few instants, names that fit several steps: every rule of section 4 meets every other."""
    times = st.sampled_from([strategies.BORDER_MS + offset for offset in (-2, -1, 0, 0, 1, 2)])
    names = st.lists(st.sampled_from("ABC"), min_size=1, max_size=2, unique=True).map(tuple)
    steps = draw(st.lists(st.builds(tree.Events, names), min_size=1, max_size=5).map(tuple))
    within = draw(st.one_of(st.none(), st.builds(tree.Duration, st.integers(0, 4), st.just("ms"))))
    window = draw(
        st.sampled_from(
            (tree.Always(), tree.Last(tree.Duration(3, "ms")), tree.Ago(tree.Duration(2, "ms"), tree.Duration(5, "ms")))
        )
    )
    events = st.builds(oracle.Event, st.just(strategies.USERS[0]), st.sampled_from("ABC"), times)
    return draw(st.lists(events, max_size=8)), tree.SequenceTest(steps, window, within, draw(st.booleans()))


@given(_crowded_steps(), st.integers(-2, 3))
@settings(max_examples=300)
def test_crowded_sequences_reach_the_oracles_step(case: tuple[list[Record], tree.SequenceTest], offset: int) -> None:
    records, sequence = case
    context = tree.Context(strategies.BORDER_MS + offset)
    funnel = tree.Funnel(sequence.steps, sequence.window, sequence.within, sequence.strict_ties)
    shards = Shards()
    _half_sealed(shards, _spread(shards, records, 3))
    assert shards.ask(funnel, context).steps == oracle.funnel(funnel, records, context)


@given(strategies.records(25), _sizes(), st.lists(strategies.funnels(), min_size=4, max_size=4), strategies.contexts())
@settings(max_examples=30)
def test_funnels_are_the_oracles_in_every_state(
    records: list[Record], size: int, reports: list[tree.Funnel], context: tree.Context
) -> None:
    expected = [oracle.funnel(report, records, context) for report in reports]
    everyone = len(oracle.population(records, context))
    for state, shards in _every_state(records, size):
        views = shards.capture()
        for report, steps in zip(reports, expected, strict=True):
            answer = shards.ask(report, context, views)
            assert (answer.steps, answer.count, answer.population) == (steps, steps[-1], everyone), state


@given(
    strategies.records(),
    _sizes(),
    st.lists(
        st.builds(tree.Breakdown, strategies.segments(2), st.sampled_from(strategies.ATTRIBUTE_NAMES)),
        min_size=4,
        max_size=4,
    ),
    strategies.contexts(),
)
@settings(max_examples=25)
def test_breakdowns_are_the_oracles_in_every_state(
    records: list[Record], size: int, reports: list[tree.Breakdown], context: tree.Context
) -> None:
    expected = [
        (oracle.breakdown(report, records, context), len(oracle.members(report.segment, records, context)))
        for report in reports
    ]
    for state, shards in _every_state(records, size):
        views = shards.capture()
        for report, (values, count) in zip(reports, expected, strict=True):
            answer = shards.ask(report, context, views)
            assert _named(dict(answer.values)) == dict(values), state
            assert answer.count == count, state


def test_a_breakdown_keeps_the_smallest_values_exactly_and_sums_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_query.partial.BREAKDOWN_VALUES_MAX", 3)
    plans = [5, 1, 4, 2, 3, 1, 2, 5, 5, 4]
    records: list[Record] = [
        oracle.Change(oracle.User("user_id", f"u{n}"), strategies.BORDER_MS, {"plan": plan})
        for n, plan in enumerate([*plans, None])
    ]
    context = tree.Context(strategies.BORDER_MS)
    for partitions in (1, 4):
        shards = Shards(partitions)
        shards.apply(records)
        answer = shards.ask(tree.Breakdown(tree.Everyone(), "plan"), context)
        assert _named(dict(answer.values)) == {oracle.NONE_KEY: 1, ("int", 1): 2, ("int", 2): 2}, partitions
        assert answer.rest == 6
        assert answer.count == 11


@pytest.mark.parametrize("state", STATES)
def test_an_empty_partition_answers_nobody(state: str) -> None:
    shards = Shards(3)
    STATES[state](shards, [])
    assert shards.members(tree.Everyone(), tree.Context(0)) == set()
    assert shards.ask(tree.Everyone(), tree.Context(0)).population == 0
