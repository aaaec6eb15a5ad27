"""Overlap, difference, distribution and rfm against the oracle, and worked examples."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from cdp.v1.segment_pb2 import Question
from google.protobuf import json_format
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid, QuerySyntaxError
from cdp_query.language import parse, print_question
from cdp_query.partial import Partial
from cdp_query.pipeline import prepare
from cdp_query.reports.diff_report import DiffPart
from cdp_query.reports.distribution_report import Bin, DistributionPart, histogram
from cdp_query.reports.overlap_report import OverlapPart, combinations
from cdp_query.reports.rfm_report import RfmPart, rfm_cells, rfm_name
from cdp_query.scan.multiset import EMPTY, Multiset
from cdp_router.contract.question_codec import from_question, to_question
from tests import oracle, oracle_reports, strategies, strategies_reports
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards
from tests.states import half_sealed, spread

DAY_MS = 86_400_000


def _shards(records: list[Record]) -> Shards:
    shards = Shards(3)
    half_sealed(shards, spread(shards, records, 5))
    return shards


@given(strategies.records(40), strategies_reports.overlaps(), strategies.contexts())
@settings(max_examples=60)
def test_overlaps_are_the_oracles(records: list[Record], report: tree.Overlap, context: tree.Context) -> None:
    expected = oracle_reports.overlap(report, records, context)
    partial = _shards(records).ask(report, context)
    assert isinstance(partial.report, OverlapPart)
    for found in combinations(partial.report, len(report.segments)):
        assert found.only == expected[found.segments]
        assert found.all == sum(n for own, n in expected.items() if set(found.segments) <= set(own))
    assert partial.report.counts[0] == expected[()]
    assert partial.count == sum(expected.values()) - expected[()]


@given(strategies.records(40), strategies.segments(2), strategies.contexts(), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=60)
def test_differences_are_the_oracles(
    records: list[Record], segment: tree.Node, context: tree.Context, a: int, b: int
) -> None:
    days = sorted((np.datetime64("2026-01-01") + a, np.datetime64("2026-01-01") + b))
    context = tree.Context(max(context.as_of_ms, strategies.BORDER_MS + 60 * DAY_MS), "UTC", context.include_anonymous)
    report = tree.Diff(segment, *(tree.Moment(f"{day}T00:00:00Z") for day in days))
    before, after = (
        oracle_reports.members_at(segment, records, context, int(day.astype("datetime64[ms]").astype(np.int64)))
        for day in days
    )
    event(f"someone moved: {before != after}")
    partial = _shards(records).ask(report, context)
    assert partial.report == DiffPart(len(after - before), len(before - after), len(after & before))
    assert partial.count == len(after)


@given(strategies.records(40), strategies_reports.distributions(), strategies.contexts())
@settings(max_examples=60)
def test_distributions_are_the_oracles(records: list[Record], report: tree.Distribution, context: tree.Context) -> None:
    numbers, undefined = oracle_reports.distribution(report, records, context)
    part = _shards(records).ask(report, context).report
    assert isinstance(part, DistributionPart)
    assert (len(part.numbers), part.undefined) == (len(numbers), undefined)
    assert part.numbers.total() == sum(numbers, Fraction(0))
    for share in (Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)) if numbers else ():
        place = (len(numbers) - 1) * share
        lower, upper = numbers[int(place)], numbers[min(int(place) + 1, len(numbers) - 1)]
        assert part.numbers.quantile(share) == lower + (upper - lower) * (place - int(place))
    bins = histogram(part.numbers)
    for found in bins:
        held = [n for n in numbers if found.low <= n < found.high or (found is bins[-1] and n == found.high)]
        assert found.count == len(held), found
    assert sum(found.count for found in bins) == len(numbers)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**60 + 1])
def test_bins_hold_integers_that_no_float_is(value: int) -> None:
    for others in ([], [0], [value - 1], [value + 1] if value < 2**63 - 1 else []):
        values = [value, *others]
        bins = histogram(Multiset.of_integers(np.array(values)))
        for found in bins:
            held = [n for n in values if found.low <= n < found.high or (found is bins[-1] and n == found.high)]
            assert found.count == len(held)
        assert sum(found.count for found in bins) == len(values)


@given(strategies.records(40), strategies_reports.rfms(), strategies.contexts())
@settings(max_examples=60)
def test_scores_are_the_oracles(records: list[Record], report: tree.Rfm, context: tree.Context) -> None:
    expected = oracle_reports.rfm(report, records, context)
    event(f"members: {min(sum(expected.values()), 3)}")
    part = _shards(records).ask(report, context).report
    assert isinstance(part, RfmPart)
    assert rfm_cells(part) == expected


@given(strategies_reports.reports())
def test_reports_survive_the_way_through_text(report: tree.Report) -> None:
    """As repr tells them, in which 1, 1.0 and true differ; and the JSON and protobuf forms hold all of it."""
    assert repr(parse(print_question(report))) == repr(report)
    message = to_question(report)
    assert repr(from_question(Question.FromString(message.SerializeToString()))) == repr(report)
    assert repr(from_question(json_format.Parse(json_format.MessageToJson(message), Question()))) == repr(report)


# ------------------------------------------------------------------------------------------------------ worked examples

PEOPLE = [user(name) for name in ("ann", "bob", "cyd", "dee", "eve")]


def _ask(text: str, records: list[Record], as_of_ms: int = 100 * DAY_MS) -> Partial:
    context = tree.Context(as_of_ms)
    return _shards(records).ask(prepare(text, None, context), context)


def test_distribution_of_a_count_includes_members_who_never_did_it() -> None:
    records: list[Record] = [Change(who, 0) for who in PEOPLE]
    records += [Event(PEOPLE[0], "Buy", day) for day in range(4)] + [Event(PEOPLE[1], "Buy", 0)]
    part = _ask('distribution(everyone, count("Buy"))', records).report
    assert isinstance(part, DistributionPart)
    assert part.numbers.high.tolist() == [0, 1, 4]
    assert part.numbers.counts.tolist() == [3, 1, 1]
    assert part.numbers.total() / len(part.numbers) == 1
    assert [found.count for found in histogram(part.numbers) if found.count] == [3, 1, 1]


def test_a_histogram_of_one_value_is_one_bin() -> None:
    assert histogram(Multiset.of_integers(np.array([7, 7]))) == [Bin(7.0, 7.0, 2)]
    assert histogram(EMPTY) == []


def test_large_integers_stay_apart() -> None:
    found = Multiset.of_integers(np.array([2**63 - 1, 2**63 - 2, -(2**63), 2**53 + 1]))
    assert found.total() == 2**63 - 1 + 2**63 - 2 - 2**63 + 2**53 + 1
    assert found.quantile(Fraction(1)) == 2**63 - 1
    assert found.quantile(Fraction(1, 3)) == 2**53 + 1


def test_five_different_members_get_the_five_scores_and_equal_ones_share() -> None:
    records: list[Record] = []
    for number, who in enumerate(PEOPLE):
        records += [Event(who, "Buy", number * DAY_MS, {"amount": 10})] * (5 - number)
    part = _ask('rfm("Buy".amount)', records).report
    assert isinstance(part, RfmPart)
    assert rfm_cells(part) == Counter({(n, 6 - n, 6 - n): 1 for n in range(1, 6)})
    same: list[Record] = [Event(who, "Buy", 0, {"amount": 1}) for who in PEOPLE]
    alike = _ask('rfm("Buy".amount)', same).report
    assert isinstance(alike, RfmPart)
    assert rfm_cells(alike) == Counter({(1, 1, 1): 5})


def test_every_cell_of_the_grid_has_a_name() -> None:
    names = {rfm_name(recency, frequency) for recency in range(1, 6) for frequency in range(1, 6)}
    assert len(names) == 9
    assert rfm_name(5, 5) == "champions"
    assert rfm_name(1, 1) == "lost"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("overlap(everyone)", "2 to 6 segments"),
        ("diff(everyone, from: 2026-01-02, to: 2026-01-01)", "before the first"),
        ("diff(everyone, from: 1970-01-01, to: 2026-01-01)", "after the instant"),
        ("distribution(everyone, 5 + 3)", "must be measured"),
    ],
)
def test_reports_without_meaning_say_why(text: str, wanted: str) -> None:
    with pytest.raises(QueryInvalid, match=wanted):
        prepare(text, None, tree.Context(100 * DAY_MS))


@pytest.mark.parametrize(
    "text",
    ["diff(everyone)", "distribution(everyone)", 'rfm("Buy")', 'overlap("Buy")', "distribution(everyone, a = 1)"],
)
def test_arguments_that_do_not_fit_show_an_example(text: str) -> None:
    with pytest.raises(QuerySyntaxError):
        parse(text)


def test_members_of_both_instants_include_those_who_came_between() -> None:
    records: list[Record] = [
        Change(PEOPLE[0], 0, {"plan": "gold"}),
        Change(PEOPLE[1], 0, {"plan": "gold"}),
        Change(PEOPLE[1], 5 * DAY_MS, {"plan": "free"}),
        Change(PEOPLE[2], 5 * DAY_MS, {"plan": "gold"}),
    ]
    partial = _ask('diff(plan = "gold", from: 1970-01-02, to: 1970-01-20)', records)
    assert partial.report == DiffPart(1, 1, 1)
    assert partial.count == 2
    assert oracle.members(parse('plan = "gold"'), records, tree.Context(100 * DAY_MS)) == {PEOPLE[0], PEOPLE[2]}
