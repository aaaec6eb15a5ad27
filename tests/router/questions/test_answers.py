"""What a client sees of merged contributions."""

from __future__ import annotations

from typing import Any

import pytest
from cdp.v1 import ingest_pb2, query_pb2

from cdp_query import tree
from cdp_query.bind.names import Names
from cdp_query.language import parse
from cdp_query.partial import Partial, merge_all
from cdp_query.reports.value_keys import NONE_KEY
from cdp_query.stats import NodeStats
from cdp_router.contract.partials import from_evaluation, merged, to_evaluation
from cdp_router.contract.question_codec import to_question
from cdp_router.contract.values import from_value
from cdp_router.deadline import monotonic_ms
from cdp_router.questions.answers import Answering, answer
from cdp_router.questions.question_reading import Asked, Said
from cdp_store.values import Kind
from tests.raw_records import Change, Event, user
from tests.router.local_cluster import NOW_MS
from tests.shards import Shards

TEXT = 'plan = "gold" and (did("View") or not did("Buy"))'


def _coverage(answered: int = 4, total: int = 4) -> query_pb2.Coverage:
    positions = [ingest_pb2.PartitionPosition(partition=number, sequence=7) for number in range(answered)]
    return query_pb2.Coverage(answered=positions, total=total)


def _answer(partial: Partial, text: str = TEXT, **changed: Any) -> query_pb2.QueryResponse:
    question = changed.pop("question", None) or parse(text)
    said = Said(question, question, to_question(question), Names())
    given: dict[str, Any] = {
        "asked": Asked(said, tree.Context(NOW_MS, "Europe/Berlin"), changed.pop("used", [])),
        "partial": partial,
        "coverage": _coverage(),
        "warnings": [],
        "mistyped": [],
        "explain": False,
        "clock_ms": monotonic_ms(),
        "engine_ms": 1.5,
    }
    return answer(Answering(**{**given, **changed}))


def test_an_answer_carries_the_counts_and_its_context() -> None:
    found = _answer(Partial(10, 4))
    assert (found.count, found.population) == (4, 10)
    assert (found.as_of.ToMilliseconds(), found.tz) == (NOW_MS, "Europe/Berlin")
    assert found.text == TEXT
    assert found.exact
    assert not found.flags
    assert not found.warnings
    assert len(found.coverage.answered) == found.coverage.total == 4
    assert found.milliseconds >= 0
    assert found.engine_milliseconds == 1.5


def test_a_missing_partition_takes_exactness_away() -> None:
    found = _answer(Partial(10, 4), coverage=_coverage(3))
    assert not found.exact
    assert list(found.flags) == ["PARTIAL"]


def test_flags_name_type_mismatches_and_unknown_names() -> None:
    found = _answer(
        Partial(10, 4, stats={1: NodeStats(type_mismatch=2)}), warnings=["no event named 'x' has been seen"]
    )
    assert list(found.flags) == ["TYPE_MISMATCH", "UNKNOWN_NAME"]
    assert list(found.warnings) == ["no event named 'x' has been seen"]
    assert found.exact


def test_what_was_scanned_is_summed_over_the_nodes() -> None:
    stats = {1: NodeStats(events=3, bytes=40, rows=5), 3: NodeStats(events=4, bytes=2, rows=6)}
    found = _answer(Partial(stats=stats))
    assert found.rows_scanned == 11
    assert (found.events_scanned, found.bytes_scanned) == (7, 42)


@pytest.mark.parametrize(("one", "other"), [("a = 1 and b = 2", "(a = 1)  and  b = 2"), ('did("V")', 'did( "V" )')])
def test_the_plan_hash_does_not_depend_on_spelling(one: str, other: str) -> None:
    assert _answer(Partial(), one).plan_hash == _answer(Partial(), other).plan_hash
    assert _answer(Partial(), one).plan_hash != _answer(Partial(), 'did("W")').plan_hash


def test_the_plan_hash_tells_a_breakdown_from_its_segment_and_from_another() -> None:
    questions = [tree.Everyone(), tree.Breakdown(tree.Everyone(), "plan"), tree.Breakdown(tree.Everyone(), "country")]
    hashes = [_answer(Partial(), question=question).plan_hash for question in questions]
    assert len(set(hashes)) == 3


def test_a_breakdown_lists_the_largest_first_and_none_last_among_equals() -> None:
    values = {
        NONE_KEY: 3, (Kind.STRING, "b"): 3, (Kind.STRING, "a"): 3, (Kind.INT, 1): 5, (Kind.FLOAT, 1.5): 1,
        (Kind.BOOL, True): 2,
    }  # fmt: skip
    partial = Partial(20, 17, (), {(int(kind), value): count for (kind, value), count in values.items()})
    found = _answer(partial, question=tree.Breakdown(tree.Everyone(), "plan"))
    rows = [(from_value(row.value), row.count) for row in found.breakdown]
    assert rows == [(1, 5), ("a", 3), ("b", 3), (None, 3), (True, 2), (1.5, 1)]
    assert [row.value.WhichOneof("kind") for row in found.breakdown] == [
        "integer", "text", "text", None, "boolean", "number",
    ]  # fmt: skip


def test_a_funnel_has_a_step_for_each_event_even_when_nobody_is_there() -> None:
    question = parse('funnel("View" -> ["Cart", "Basket"] -> "Buy")')
    found = _answer(Partial(9, 2, (7, 4, 2)), question=question)
    assert [(step.label, step.count) for step in found.funnel] == [("View", 7), ("Cart or Basket", 4), ("Buy", 2)]
    assert [step.count for step in _answer(Partial(), question=question).funnel] == [0, 0, 0]


def test_an_explanation_of_a_report_lists_the_nodes_of_its_segments() -> None:
    question = parse('overlap(plan = "gold" and did("View"), not did("Buy"))')
    context = tree.Context(1000)
    shards = Shards(2)
    shards.apply(
        [Event(user("ann"), "View", 1), Change(user("ann"), 1, {"plan": "gold"}), Event(user("bob"), "Buy", 1)]
    )
    partial = shards.ask(question, context)
    found = _answer(partial, question=question, explain=True)
    assert [(step.depth, step.text, step.rows_true, step.evaluations) for step in found.explanation] == [
        (0, "overlap of 2 segments", 1, 2), (1, "all of", 1, 2), (2, 'plan = "gold"', 1, 2), (2, 'did("View")', 1, 1),
        (1, "not", 1, 2), (2, 'did("Buy")', 1, 2),
    ]  # fmt: skip
    twice = parse('diff(plan = "gold", from: 1970-01-01, to: 1970-01-01T00:00:01Z)')
    steps = _answer(shards.ask(twice, context), question=twice, explain=True).explanation
    assert [(step.depth, step.text, step.evaluations) for step in steps] == [
        (0, "difference from 1970-01-01 to 1970-01-01T00:00:01Z", 2), (1, 'plan = "gold"', 4),
    ]  # fmt: skip
    numbers = parse('distribution(did("Buy"), count("Buy"))')
    steps = _answer(shards.ask(numbers, context), question=numbers, explain=True).explanation
    assert [(step.depth, step.text) for step in steps] == [
        (0, 'distribution(did("Buy"), count("Buy"))'), (1, 'did("Buy")'),
    ]  # fmt: skip


def test_members_beyond_the_kept_values_of_a_breakdown_are_told() -> None:
    found = _answer(Partial(20, 9, (), {(int(Kind.INT), 1): 5}, rest=4), question=tree.Breakdown(tree.Everyone(), "n"))
    assert [row.count for row in found.breakdown] == [5]
    assert found.breakdown_rest == 4


def test_an_explanation_lists_every_node_under_its_parent() -> None:
    stats = {number: NodeStats(rows_true=number, nanoseconds=2_000_000) for number in range(6)}
    found = _answer(Partial(9, 2, stats=stats), explain=True)
    assert [(step.depth, step.text, step.rows_true) for step in found.explanation] == [
        (0, "all of", 0), (1, 'plan = "gold"', 1), (1, "any of", 2), (2, 'did("View")', 3), (2, "not", 4),
        (3, 'did("Buy")', 5),
    ]  # fmt: skip
    assert {step.milliseconds for step in found.explanation} == {2.0}
    assert not _answer(Partial(9, 2, stats=stats)).explanation


def test_partials_survive_the_way_between_shard_and_router() -> None:
    values = {
        NONE_KEY: 1, (int(Kind.BOOL), True): 2, (int(Kind.INT), 1): 3, (int(Kind.FLOAT), 1.5): 4,
        (int(Kind.STRING), ""): 5, (int(Kind.TIME), "2026-01-01T12:00:00.001000+00:00"): 6,
    }  # fmt: skip
    names = Names(frozenset({"View"}), frozenset({"p"}), frozenset({"plan"}))
    stats = {0: NodeStats(1, 2, 3, 4, 5, 6, 7), 4: NodeStats(rows_true=1)}
    partial = Partial(10, 4, (4, 2), values, names, stats)
    position = ingest_pb2.PartitionPosition(partition=3, sequence=9)
    message = to_evaluation(partial, [position])
    received = from_evaluation(type(message).FromString(message.SerializeToString()))
    assert received == partial
    assert list(message.answered) == [position]
    assert merge_all([received, Partial()]) == partial


@pytest.mark.parametrize(
    "partials",
    [
        [],
        [Partial(10, 4)],
        [
            Partial(10, 4, known=Names(frozenset({"View"})), stats={0: NodeStats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)}),
            Partial(3, 1, known=Names(frozenset({"Buy"}), frozenset({"p"})), stats={0: NodeStats(events=5)}),
            Partial(2, 0, stats={3: NodeStats(truncated=1)}),
        ],
        [Partial(10, 4), Partial(3, 2, (2, 1))],
        [Partial(10, 4, values={NONE_KEY: 4}), Partial(10, 4)],
        [Partial(10, 4, rest=3), Partial(10, 4)],
    ],
)
def test_contributions_merge_like_their_partials(partials: list[Partial]) -> None:
    messages = [to_evaluation(partial) for partial in partials]
    assert [from_evaluation(message) for message in messages] == partials
    assert merged(messages) == merge_all(partials)
    assert [from_evaluation(message) for message in messages] == partials, "merging changes none of them"


def test_a_part_that_was_spared_says_so() -> None:
    stats = {0: NodeStats(evaluations=4), 1: NodeStats(evaluations=4), 2: NodeStats(evaluations=1)}
    found = _answer(Partial(stats=stats), 'plan = "gold" and did("View")', explain=True)
    assert [(step.text, step.evaluations) for step in found.explanation] == [
        ("all of", 4),
        ('plan = "gold"', 4),
        ('did("View")', 1),
    ]
