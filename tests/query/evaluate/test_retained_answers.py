"""After retention an answer is that of the full history, or says that it may not be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.language import parse
from cdp_query.stats import total
from cdp_store.ids import SequenceNumber
from cdp_store.limits import BUCKET_MS
from cdp_store.log.controls import Retention
from cdp_store.values import to_datetime
from tests import oracle, strategies, strategies_reports
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

ANN, BOB, CEN = user("ann"), user("bob"), user("cen")
CUTOFF = strategies.BORDER_MS
CONTEXT = tree.Context(CUTOFF + BUCKET_MS)


def retained(records: list[Record], cutoff: int, partitions: int = 1) -> Shards:
    """Partitions with the records, of which events before the cutoff have been dropped."""
    shards = Shards(partitions)
    shards.apply(records)
    for partition in shards.partitions:
        names = dict.fromkeys(strategies.EVENT_NAMES, cutoff)
        partition.retain(Retention({}, names), SequenceNumber(partition.sequence + 1))
        partition.validate()
    return shards


def is_truncated(shards: Shards, question: tree.Question, context: tree.Context) -> bool:
    return total(shards.ask(question, context).stats).truncated > 0


@given(
    strategies.records(25),
    st.one_of(strategies.predicates(), strategies.segments(2)),
    strategies.contexts(),
    st.integers(-3, 3),
    st.sampled_from([1, 3]),
)
@settings(max_examples=200)
def test_an_answer_without_the_flag_is_that_of_the_full_history(
    records: list[Record], segment: tree.Node, context: tree.Context, buckets: int, partitions: int
) -> None:
    shards = retained(records, CUTOFF + buckets * BUCKET_MS, partitions)
    if not is_truncated(shards, segment, context):
        assert shards.members(segment, context) == oracle.members(segment, records, context)


def members(shards: Shards, text: str, context: tree.Context = CONTEXT) -> tuple[list[str], bool]:
    """(members, whether the answer is flagged)."""
    segment = parse(text)
    assert not isinstance(segment, tree.Funnel | tree.Breakdown)
    return sorted(found.identifier for found in shards.members(segment, context)), is_truncated(
        shards, segment, context
    )


RECORDS: list[Record] = [
    *(Event(ANN, "View", CUTOFF - days * strategies.DAY_MS, {"n": days}) for days in (1, 10, 20)),
    Event(ANN, "View", CUTOFF + 1, {"n": 0}),
    Event(BOB, "View", CUTOFF + 1, {"n": 0}),
    Change(CEN, CUTOFF - 1, {"plan": "gold"}),
]


def test_what_summaries_tell_is_exact_and_what_they_do_not_is_flagged() -> None:
    shards = retained(RECORDS, CUTOFF)
    assert members(shards, 'did("View")') == (["ann", "bob"], False)
    assert members(shards, 'count("View") = 4') == (["ann"], False)
    assert members(shards, 'count("View") = 0') == (["cen"], False)
    assert members(shards, 'count("View", last: 5d) = 0') == (["ann", "bob", "cen"], False)
    assert members(shards, f'did("View", from: {_day(-21)}, to: {_day(-20)})') == (["ann"], False)
    assert members(shards, f'first_time("View", from: {_day(-21)}, to: {_day(-20)})') == (["ann"], False)
    assert members(shards, f'last_time("View", before: {_day(0)})') == ([], False)
    assert members(shards, f'count("View", before: {_day(-2)}) >= 2') == ([], True)
    assert members(shards, 'did("View", n = 10)') == ([], True)
    assert members(shards, 'sum("View".n) > 5') == ([], True)
    assert members(shards, 'sequence("View" -> "View" -> "View")') == ([], True)
    assert members(shards, 'did("Buy", n = 10)') == ([], False), "nothing of that name was dropped"


def _day(days: int) -> str:
    return (to_datetime(CUTOFF + days * strategies.DAY_MS)).date().isoformat()


def test_a_sequence_is_flagged_only_by_partitions_where_it_is_evaluated() -> None:
    """ann and bob live in different partitions; the drop took events of ann alone."""
    both = [Event(who, name, CUTOFF + at) for who in (ANN, BOB) for at, name in enumerate(("View", "Buy"), 1)]
    dropped = Event(ANN, "View", CUTOFF - 1)
    for gold, flagged in ((ANN, True), (BOB, False)):
        shards = retained([*both, dropped, Change(gold, CUTOFF, {"plan": "gold"})], CUTOFF, 2)
        assert [view.row_count for view in shards.capture()] == [1, 1]
        found = members(shards, 'plan = "gold" and sequence("View" -> "Buy")')
        assert found == ([gold.identifier], flagged)


def test_a_question_about_an_instant_before_the_drop_is_flagged_where_it_matters() -> None:
    shards = retained(RECORDS, CUTOFF)
    then = tree.Context(CUTOFF - 5 * strategies.DAY_MS)
    assert members(shards, 'count("View") = 2', then) == ([], True)
    assert members(shards, 'did("View")', then) == (["ann"], False)


@pytest.mark.parametrize(
    "text",
    [
        'trend("View", unit: day)',
        'trend("View", unit: day, since: born)',
        'retention("View", return: "View", unit: day, periods: 3)',
        'rfm("View".n)',
        'flow("View", depth: 2)',
        'flow("Buy", depth: 2, direction: before)',
        'funnel("View" -> "Buy")',
        'funnel("Buy" -> without "View" -> "Buy", before: 2999-01-01)',
        'funnel("View" -> "Buy", mode: totals)',
        'funnel("View" -> "Buy", for: 900d, of_first: "Buy")',
        'overlap(did("View", n = 1), did("Buy"))',
        'diff(count("View", n = 1) > 2, from: 1970-01-01, to: 2026-01-20)',
        'lifecycle("View", unit: day, from: 2025-12-30, to: 2025-12-31)',
        'distribution(everyone, sum("View".n))',
        'distribution(did("View", n = 1), count("Buy"))',
    ],
)
def test_every_report_that_may_miss_dropped_events_is_flagged(text: str) -> None:
    records: list[Record] = [*RECORDS, Event(ANN, "Buy", CUTOFF + 5), Event(BOB, "Buy", CUTOFF + 6)]
    question = parse(text)
    assert is_truncated(retained(records, CUTOFF), question, CONTEXT)
    assert not is_truncated(retained(records, CUTOFF - 100 * BUCKET_MS), question, CONTEXT), "nothing was dropped"


def test_a_report_whose_window_begins_behind_the_drop_is_not_flagged() -> None:
    records: list[Record] = [*RECORDS, Event(ANN, "Buy", CUTOFF + 5)]
    for text in (
        'trend("View", unit: day, after: {})',
        'flow("View", depth: 2, after: {})',
        'rfm("View".n, after: {})',
    ):
        assert not is_truncated(retained(records, CUTOFF), parse(text.format(_day(0))), CONTEXT)


@given(strategies.records(25), strategies_reports.reports(), strategies.contexts(), st.integers(-3, 3))
@settings(max_examples=50)
def test_a_report_without_the_flag_is_that_of_the_full_history(
    records: list[Record], report: tree.Report, context: tree.Context, buckets: int
) -> None:
    shards, full = retained(records, CUTOFF + buckets * BUCKET_MS), Shards()
    full.apply(records)
    if not is_truncated(shards, report, context):
        found, expected = shards.ask(report, context), full.ask(report, context)
        assert (found.count, found.report) == (expected.count, expected.report)
