"""Sums beyond the largest float64 and beyond 64 bits, in every measure and report."""

from __future__ import annotations

import sys
from fractions import Fraction

import pytest
from cdp.v1 import query_pb2
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.language import parse
from cdp_router.cli.ask.report_tables import report_table as shown_table
from tests import oracle_reports
from tests.answered import report_answer
from tests.raw_records import Event, Record, user
from tests.shards import Shards

CONTEXT = tree.Context(10**9)
LARGEST = sys.float_info.max
NUMBERS = st.sampled_from(
    (1e308, -1e308, LARGEST, -LARGEST, 1.7e308, 5e-324, 1.0, 0.5, -0.25, 0, 3, 2**63 - 1, -(2**63), 2**62, 1e16)
)


def _records(people: list[list[float]]) -> list[Record]:
    return [
        Event(user(f"u{n}"), "Buy", at + n, {"v": value})
        for n, own in enumerate(people)
        for at, value in enumerate(own)
    ]


def _table(text: str, people: list[list[float]]) -> query_pb2.QueryResponse:
    shards = Shards(3)
    shards.apply(_records(people))
    question = parse(text)
    return report_answer(question, shards.ask(question, CONTEXT).report, CONTEXT)


def _count(text: str, people: list[list[float]]) -> int:
    shards = Shards(2)
    shards.apply(_records(people))
    return shards.ask(parse(text), CONTEXT).count


def test_a_sum_beyond_the_largest_float_is_counted_apart_in_a_distribution() -> None:
    table = _table(
        'distribution(did("Buy"), sum("Buy".v))', [[1e308, 1e308], [-1e308, -1e308], [2.0, 3.5]]
    ).distribution
    assert table is not None
    assert (table.count, table.undefined, table.mean) == (1, 2, 5.5)


def test_an_average_is_a_number_where_its_sum_is_none() -> None:
    people = [[1e308, 1e308], [LARGEST, LARGEST, LARGEST]]
    assert _count('avg("Buy".v) = 1e308', people) == 1
    assert _count(f'avg("Buy".v) >= {LARGEST!r}', people) == 1
    assert _count('avg("Buy".v) > 9e307', people) == 2
    table = _table('distribution(did("Buy"), avg("Buy".v))', people).distribution
    assert table is not None
    assert (table.count, table.undefined, table.quantiles[0].value, table.quantiles[-1].value) == (2, 0, 1e308, LARGEST)


def test_a_sum_beyond_the_largest_float_compares_as_larger_than_every_number() -> None:
    people = [[1e308, 1e308], [-1e308, -1e308], [1e308, 1e308, -1e308]]
    assert _count(f'sum("Buy".v) > {LARGEST!r}', people) == 1
    assert _count(f'sum("Buy".v) < -{LARGEST!r}', people) == 1
    assert _count('sum("Buy".v) = 1e308', people) == 1
    assert _count('sum("Buy".v) != 1e308', people) == 2
    assert _count('sum("Buy".v) > 2 * count("Buy")', people) == 2


def test_a_trend_leaves_out_a_sum_that_no_float_holds_and_keeps_the_average() -> None:
    table = _table('trend("Buy".v, unit: day)', [[1e308, 1e308], [1e308]]).trend
    assert table is not None
    row = table.rows[0]
    assert not row.HasField("sum")
    assert row.average.number == 1e308
    whole = MessageToDict(table)
    assert "Infinity" not in str(whole)
    shown = shown_table(query_pb2.QueryResponse(trend=table))
    assert shown is not None


def test_integers_beyond_64_bits_are_summed_exactly() -> None:
    people: list[list[float]] = [[2**63 - 1, 2**63 - 1, -(2**63 - 1), 1]]
    assert _count('sum("Buy".v) = 9223372036854775807 or sum("Buy".v) = 9223372036854775808.0', people) == 1
    beyond: list[list[float]] = [[2**63 - 1] * 5]
    assert _count('sum("Buy".v) > 9223372036854775807', beyond) == 1
    assert _count('avg("Buy".v) = 9223372036854775807.0', beyond) == 1


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=6), st.sampled_from((1, 2, 4)))
@settings(max_examples=80)
def test_every_report_and_measure_over_extreme_numbers_is_a_valid_answer(
    people: list[list[float]], partitions: int
) -> None:
    records, shards = _records(people), Shards(partitions)
    shards.apply(records)
    for text in (
        *(f'distribution(everyone, {name}("Buy".v))' for name in ("sum", "avg", "min", "max", "median", "p95")),
        'distribution(everyone, sum("Buy".v) - 1)',
        'distribution(everyone, sum("Buy".v) / count("Buy"))',
        'trend("Buy".v, unit: day)',
        'rfm("Buy".v)',
    ):
        question = parse(text)
        part = shards.ask(question, CONTEXT).report
        answered = report_answer(question, part, CONTEXT)
        assert answered.WhichOneof("report") is not None
        assert "Infinity" not in str(MessageToDict(answered)) and "NaN" not in str(MessageToDict(answered))
        if isinstance(question, tree.Distribution):
            numbers, undefined = oracle_reports.distribution(question, records, CONTEXT)
            assert (answered.distribution.count, answered.distribution.undefined) == (len(numbers), undefined), text


@pytest.mark.parametrize("text", ['sum("Buy".v) > 0', 'avg("Buy".v) > 0', 'sum("Buy".v) * 2 > 0'])
def test_comparisons_do_not_depend_on_the_number_of_partitions(text: str) -> None:
    people = [[1e308, 1e308], [1e308, -1e308, 5e-324], [-1e308, -1e308]]
    assert _count(text, people) == (2 if "sum" in text and "*" not in text else 1)


def test_the_mean_of_a_distribution_is_exact() -> None:
    table = _table('distribution(did("Buy"), max("Buy".v))', [[LARGEST], [LARGEST], [1.0]]).distribution
    assert table is not None
    assert table.mean == float((2 * Fraction(LARGEST) + 1) / 3)
