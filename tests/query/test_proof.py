"""Proofs: the verdict is membership, and what is shown decides it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.evaluate.completed_attempt import Candidate, find_attempt
from cdp_query.language import parse
from cdp_query.proof import Proof, Verdict, prove
from cdp_store.ids import encode_identifier
from cdp_store.values import Kind
from tests import oracle, strategies
from tests.oracle_attempts import complete_attempts
from tests.raw_records import Change, Event, Record, User, anonymous, user
from tests.shards import Shards
from tests.strategies_attempts import crowded_events, funnels

ANN = user("ann")
DAY_MS = 86_400_000


def _verdict(shards: Shards, segment: tree.Node, who: User, context: tree.Context, shown: int = 20) -> Verdict | None:
    for partition in shards.partitions:
        [row] = partition.locate([encode_identifier(*who)])[1]
        if row is not None:
            return prove(segment, partition.capture(), Binder(context), row, shown, lambda: None)
    return None


@given(strategies.records(), strategies.segments(3), strategies.contexts())
@settings(max_examples=60)
def test_the_verdict_is_membership(records: list[Record], segment: tree.Node, context: tree.Context) -> None:
    shards = Shards(2)
    shards.apply(records[: len(records) // 2])
    shards.seal()
    shards.apply(records[len(records) // 2 :])
    members = shards.members(segment, context)
    for who in strategies.USERS:
        verdict = _verdict(shards, segment, who, context)
        assert (verdict is not None and verdict.member) == (who in members)
        if verdict is not None:
            _parts_agree(verdict.proof)


def _parts_agree(proof: Proof) -> None:
    """Every group's verdict follows from those of its parts."""
    match proof.node:
        case tree.All():
            assert proof.holds == all(part.holds for part in proof.parts)
        case tree.Any():
            assert proof.holds == any(part.holds for part in proof.parts)
        case tree.Not():
            assert proof.holds != proof.parts[0].holds
    for part in proof.parts:
        _parts_agree(part)


@given(strategies.records(), strategies.event_sets(), strategies.windows(), strategies.contexts())
@settings(max_examples=60)
def test_the_events_shown_are_those_that_count(
    records: list[Record], events: tree.Events, window: tree.Window, context: tree.Context
) -> None:
    shards = Shards(2)
    shards.apply(records)
    for who in strategies.USERS:
        verdict = _verdict(shards, tree.Did(events, window), who, context, shown=3)
        if verdict is None or not verdict.in_population:
            continue
        at_least = tree.CountTest(events, window, tree.Op.EQ, verdict.proof.event_count)
        assert who in oracle.members(at_least, records, context)
        assert len(verdict.proof.events) == min(3, verdict.proof.event_count)


@given(strategies.records(), strategies.sequences(), strategies.contexts())
@settings(max_examples=60)
def test_a_sequence_that_holds_shows_one_event_for_each_step(
    records: list[Record], sequence: tree.SequenceTest, context: tree.Context
) -> None:
    shards = Shards()
    shards.apply(records)
    for who in strategies.USERS:
        verdict = _verdict(shards, sequence, who, context)
        if verdict is not None and verdict.proof.holds:
            shown = verdict.proof.events
            assert len(shown) == len(sequence.steps)
            assert len({(id(event.chunk), event.index) for event in shown}) == len(shown)
            gaps = [later.time_ms - earlier.time_ms for earlier, later in pairwise(shown)]
            assert all(gap > 0 if sequence.strict_ties else gap >= 0 for gap in gaps)


def _proof(text: str, records: list[Record], as_of_ms: int = 100 * DAY_MS) -> Proof:
    shards = Shards()
    shards.apply(records)
    segment = pipeline.segment_of(parse(text))
    verdict = _verdict(shards, segment, ANN, tree.Context(as_of_ms))
    assert verdict is not None
    return verdict.proof


def test_only_the_users_own_events_are_shown_in_order_of_time() -> None:
    records: list[Record] = [
        Event(who, name, day * DAY_MS, {"n": day})
        for day in range(10)
        for who in (ANN, user("bob"))
        for name in ("A", "B")
    ]
    proof = _proof('count("A", n >= 3, last: 96d) >= 5', records)
    assert proof.holds
    assert [event.time_ms // DAY_MS for event in proof.events] == [5, 6, 7, 8, 9]
    assert proof.event_count == 5


def test_the_first_and_the_last_occurrence_decide() -> None:
    records: list[Record] = [Event(ANN, "A", day * DAY_MS) for day in (3, 7, 9)]
    assert [event.time_ms for event in _proof('first_time("A", last: 95d)', records).events] == [3 * DAY_MS]
    assert [event.time_ms for event in _proof('last_time("A", last: 95d)', records).events] == [9 * DAY_MS]


def test_the_attributes_value_and_its_history_are_shown() -> None:
    records: list[Record] = [Change(ANN, day * DAY_MS, {"n": day or None}) for day in (1, 2, 0, 3, 200)]
    [value] = _proof("n = 3", records).values
    assert (value.kind, value.raw, value.time_ms) == (Kind.INT, 3, 3 * DAY_MS)
    history = _proof("changed(n, last: 99d)", records).values
    assert [value.raw for value in history] == [0, 1, 2, 3]
    assert history[0].kind is Kind.UNSET
    assert _proof("m = 1", records).values == ()


def test_a_profile_that_is_left_out_is_no_member_whatever_holds() -> None:
    shards = Shards()
    shards.apply([Event(anonymous("x"), "A", 50)])
    for context in (tree.Context(100, include_anonymous=False), tree.Context(10)):
        verdict = _verdict(shards, tree.Everyone(), anonymous("x"), context)
        assert verdict is not None and verdict.proof.holds
        assert not verdict.in_population and not verdict.member


@given(crowded_events(), funnels())
@settings(max_examples=150)
def test_an_attempt_under_all_rules_is_one_of_those_that_the_oracle_finds(
    records: list[Record], report: tree.Funnel
) -> None:
    sequence = tree.SequenceTest(report.steps, report.window, report.within, report.strict_ties, report.rules)
    context = tree.Context(strategies.BORDER_MS + 100)
    shards = Shards()
    shards.apply(records)
    profiles = {profile.user: profile for profile in oracle.population(records, context)}
    for who in strategies.USERS[:2]:
        verdict = _verdict(shards, sequence, who, context)
        if verdict is not None and verdict.proof.holds:
            times = tuple(event.time_ms for event in verdict.proof.events)
            assert times in complete_attempts(sequence, profiles[who], context)


_MANY = 40


@pytest.mark.parametrize(
    ("text", "events", "shown"),
    [
        ('sequence("A" -> "A")', "A1", []),  # one event fills one step
        ('sequence("A" -> "A")', "A1 A1", [1, 1]),
        ('sequence("A" -> "A" -> "B", within: 3ms)', "A1 A3 B5", []),
        ('sequence("A" -> "B" -> "C", within_each: 3ms)', "A1 B2 B4 C7", [1, 4, 7]),
        ('sequence("A" -> "B", within_each: 1ms)', "A1 B3 A4 B5", [4, 5]),
        ('sequence("A" -> without "X" -> "B")', "A1 X2 B3 A4 B5", [4, 5]),
        # The event that both steps want must be left to the one that has no other.
        ('sequence(["A", "B"] -> "A", order: any)', "A1 B2 B9", [1, 2]),
    ],
)
def test_the_attempt_shown_keeps_the_rules(text: str, events: str, shown: list[int]) -> None:
    proof = _proof(text, [Event(ANN, event[0], int(event[1:])) for event in events.split()])
    assert ([event.time_ms for event in proof.events] if proof.holds else []) == shown


def test_many_events_of_one_instant_end_the_search() -> None:
    """Forty events fill eight steps in more ways than can be tried before it shows that none is left for the ninth."""
    crowd = [Candidate(1, 0b1_1111_1111, 0, True, number) for number in range(_MANY)]
    steps = (BoundEvents((), None),) * 10
    rules = BoundAttempts(0, steps, Interval(0, 9), 9, -1, -1, False, tree.StepOrder.ORDERED, False, None, ())
    assert find_attempt(crowd, rules) == ()
