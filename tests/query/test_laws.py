"""The laws of semantics.md, section 8: true for every question, whatever the data; no oracle is asked."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.language import parse, print_question
from cdp_query.pipeline import check
from cdp_store.ids import SequenceNumber, encode_identifier
from tests import strategies, strategies_reports
from tests.raw_records import Record
from tests.shards import Shards

Asked = TypeVar("Asked")
FAR = strategies.BORDER_MS + 40 * strategies.DAY_MS


def _several(questions: st.SearchStrategy[Asked]) -> st.SearchStrategy[list[Asked]]:
    """Questions to the same shards."""
    return st.lists(questions, min_size=2, max_size=2)


def _filled(records: list[Record]) -> Shards:
    shards = Shards(2)
    for start in range(0, len(records), 7):
        shards.apply(records[start : start + 7])
        if start % 2:
            shards.seal()
    return shards


@given(strategies.records(), _several(strategies.segments(3)), strategies.contexts())
@settings(max_examples=30)
def test_not_is_the_complement_in_the_population(
    records: list[Record], segments: list[tree.Node], context: tree.Context
) -> None:
    shards = _filled(records)
    everyone = shards.members(tree.Everyone(), context)
    for segment in segments:
        inside, outside = shards.members(segment, context), shards.members(tree.Not(segment), context)
        assert not inside & outside
        assert inside | outside == everyone
        answers = [shards.ask(segment, context), shards.ask(tree.Not(segment), context)]
        assert sum(answer.count for answer in answers) == answers[0].population


@given(strategies.records(), _several(st.tuples(strategies.segments(2), strategies.segments(2))), strategies.contexts())
@settings(max_examples=30)
def test_de_morgan(records: list[Record], pairs: list[tuple[tree.Node, tree.Node]], context: tree.Context) -> None:
    shards = _filled(records)
    for pair in pairs:
        negated = tuple(map(tree.Not, pair))
        assert shards.members(tree.Not(tree.All(pair)), context) == shards.members(tree.Any(negated), context)
        assert shards.members(tree.Not(tree.Any(pair)), context) == shards.members(tree.All(negated), context)


@given(strategies.records(), strategies.event_sets(), strategies.windows(), strategies.contexts())
@settings(max_examples=60)
def test_counts_partition_the_population_and_shrink_as_they_grow(
    records: list[Record], events: tree.Events, window: tree.Window, context: tree.Context
) -> None:
    shards = _filled(records)

    def counted(op: tree.Op, count: int) -> frozenset[object]:
        return frozenset(shards.members(tree.CountTest(events, window, op, count), context))

    everyone = shards.members(tree.Everyone(), context)
    exact = [counted(tree.Op.EQ, count) for count in range(len(records) + 1)]
    assert sum(map(len, exact)) == len(everyone)
    assert frozenset[object]().union(*exact) == everyone
    at_least = [counted(tree.Op.GE, count) for count in range(5)]
    assert all(more <= fewer for fewer, more in pairwise(at_least))
    assert at_least[1] == shards.members(tree.Did(events, window), context)


@given(strategies.records(), strategies.event_sets(), st.integers(0, 60), st.integers(0, 60), strategies.contexts())
@settings(max_examples=60)
def test_widening_a_window_loses_nobody_who_did(
    records: list[Record], events: tree.Events, days: int, more: int, context: tree.Context
) -> None:
    shards = _filled(records)
    windows = [
        tree.Last(tree.Duration(days, "d")),
        tree.Last(tree.Duration(days + more, "d")),
        tree.Always(),
    ]
    narrow, wide, always = (shards.members(tree.Did(events, window), context) for window in windows)
    assert narrow <= wide <= always


@given(
    strategies.records(),
    strategies.records(),
    strategies.segments(3),
    strategies.contexts(),
    st.sampled_from(strategies.ATTRIBUTE_NAMES),
)
@settings(max_examples=60)
def test_a_past_instant_asked_later_gives_the_answer_of_then(
    before: list[Record], after: list[Record], segment: tree.Node, context: tree.Context, attribute: str
) -> None:
    """What was true at T stays true when only records later than T arrive."""
    shards = _filled([record for record in before if record.ts <= context.as_of_ms])
    members = shards.members(segment, context)
    values = dict(shards.ask(tree.Breakdown(segment, attribute), context).values)
    shards.apply([record for record in after if record.ts > context.as_of_ms])
    assert shards.members(segment, context) == members
    shards.seal()
    assert shards.members(segment, context) == members
    assert dict(shards.ask(tree.Breakdown(segment, attribute), context).values) == values


@given(strategies.records(), _several(strategies.funnels()), strategies.contexts())
@settings(max_examples=30)
def test_funnel_steps_never_grow_and_end_in_the_sequence(
    records: list[Record], reports: list[tree.Funnel], context: tree.Context
) -> None:
    shards = _filled(records)
    for report in reports:
        answer = shards.ask(report, context)
        sequence = tree.SequenceTest(report.steps, report.window, report.within, report.strict_ties)
        assert list(answer.steps) == sorted(answer.steps, reverse=True)
        assert answer.steps[-1] == len(shards.members(sequence, context)) == shards.ask(sequence, context).count


@given(strategies.records(), strategies.segments(2), st.sampled_from(("plan", "since", "and")))
@settings(max_examples=60)
def test_a_breakdown_by_single_values_adds_up_to_the_segment(
    records: list[Record], segment: tree.Node, attribute: str
) -> None:
    single = [record for record in records if not _sets_a_list(record, attribute)]
    answer = _filled(single).ask(tree.Breakdown(segment, attribute), tree.Context(FAR))
    assert sum(answer.values.values()) == answer.count


def _sets_a_list(record: Record, attribute: str) -> bool:
    return isinstance(getattr(record, "attributes", {}).get(attribute), list)


@given(strategies.records(), strategies.segments(3), strategies_reports.flows(), strategies.contexts(), st.booleans())
@settings(max_examples=30)
def test_erasing_a_user_changes_no_answer_but_by_that_user(
    records: list[Record], segment: tree.Node, flow: tree.Flow, context: tree.Context, purged: bool
) -> None:
    """The same answers as if the user had never been, at once and when the purge has been."""
    shards, gone = _filled(records), strategies.USERS[0]
    before = shards.members(segment, context)
    for partition in shards.partitions:
        partition.erase([encode_identifier(*gone)], SequenceNumber(partition.sequence + 1))
        if purged:
            partition.purge()
    never = _filled([record for record in records if record.user != gone])
    assert shards.members(segment, context) == before - {gone} == never.members(segment, context)
    assert shards.ask(segment, context).population == never.ask(segment, context).population
    assert shards.ask(flow, context).report == never.ask(flow, context).report
    breakdown = tree.Breakdown(segment, "plan")
    assert dict(shards.ask(breakdown, context).values) == dict(never.ask(breakdown, context).values)


@given(strategies.segments())
@settings(max_examples=300)
def test_a_segment_survives_being_printed_and_parsed(segment: tree.Node) -> None:
    parsed = parse(print_question(segment))
    assert parsed == segment
    assert _with_types(parsed) == _with_types(segment), "1, 1.0 and true are different literals"


@given(strategies.funnels())
@settings(max_examples=60)
def test_a_funnel_survives_being_printed_and_parsed(report: tree.Funnel) -> None:
    assert parse(print_question(report)) == report


@given(strategies.segments(), strategies.contexts())
@settings(max_examples=150)
def test_the_rewrite_rules_are_idempotent(segment: tree.Node, context: tree.Context) -> None:
    once = check(segment, context)
    assert check(once, context) == once


_ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(_ANY_TEXT, _ANY_TEXT, _ANY_TEXT)
@settings(max_examples=300)
def test_names_and_strings_of_any_characters_survive(name: str, attribute: str, literal: str) -> None:
    test = tree.AttributeTest(attribute, tree.OneOf((literal, attribute)))
    where = tree.PropertyTest(attribute, tree.TextTest(tree.TextOp.CONTAINS, literal))
    segment = tree.All((test, tree.CountTest(tree.Events((name, literal), where), tree.Always(), tree.Op.GE, 1)))
    assert parse(print_question(segment)) == segment


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1)))
@settings(max_examples=200)
def test_numbers_survive_to_the_last_bit(number: float) -> None:
    segment = tree.AttributeTest("a", tree.Compare(tree.Op.LE, number))
    assert _with_types(parse(print_question(segment))) == _with_types(segment)


def _with_types(question: object) -> str:
    """repr keeps apart what == does not: 1 and 1.0, 0.0 and -0.0."""
    return repr(question)
