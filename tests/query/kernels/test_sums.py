"""Sums are exact: whatever the order, the chunks and the sizes of the terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.kernels.exact_sum import exact_sums
from cdp_query.tree import Aggregate, Op
from tests.oracle_events import exact_sum
from tests.raw_records import Change, Event, user
from tests.shards import Shards

Number = int | float
ANN = user("ann")
INT_MAX, INT_MIN = 2**63 - 1, -(2**63)
CONTEXT = tree.Context(10**9)
FLOATS = st.one_of(
    st.sampled_from([0.1, 0.2, 0.3, 1e16, -1e16, 1.0, -1.0, 1e-300, 5e-324, -0.0, 2.0**53, 1e100, -1e100, 12.95]),
    st.floats(-1e200, 1e200, allow_nan=False),
)
INTEGERS = st.one_of(st.integers(-1000, 1000), st.integers(-(2**60), 2**60), st.sampled_from([2**53 + 1, -(2**53) - 1]))


def shards_with(values: Sequence[Number], *, seal_every: int = 3) -> Shards:
    """One user with an event per value, a millisecond apart, in several chunks."""
    shards = Shards()
    events = [Event(ANN, "Buy", ts, {"amount": value}) for ts, value in enumerate(values)]
    for start in range(0, len(events), seal_every):
        shards.seal()
        shards.apply(events[start : start + seal_every])
    return shards


def holds(shards: Shards, aggregate: Aggregate, op: Op, value: Number) -> bool:
    test = tree.AggregateTest(aggregate, "amount", tree.Events(("Buy",)), tree.Always(), op, value)
    return shards.members(test, CONTEXT) == {ANN}


@given(st.lists(st.one_of(FLOATS, FLOATS, INTEGERS), min_size=1, max_size=25), st.randoms(use_true_random=False))
@example([1e16, 1.0, -1e16], Random(0))
@example([1e100, 1.0, -1e100, 1e-300], Random(0))
@example([2**53 + 1, 0.5], Random(0))
@settings(max_examples=150)
def test_a_sum_is_the_exact_sum_rounded_once_in_any_order(values: list[Number], random: Random) -> None:
    expected = exact_sum(values)
    for _ in range(2):
        assert holds(shards_with(values), Aggregate.SUM, Op.EQ, expected)
        random.shuffle(values)


@given(st.lists(st.one_of(FLOATS, INTEGERS), min_size=1, max_size=12))
@settings(max_examples=80)
def test_an_average_is_the_exact_sum_divided_once(values: list[Number]) -> None:
    assert holds(shards_with(values), Aggregate.AVG, Op.EQ, float(exact_sum(values)) / len(values))


@given(st.lists(INTEGERS, max_size=12))
@settings(max_examples=80)
def test_integer_sums_are_exact_to_the_last_unit(values: list[int]) -> None:
    shards, total = shards_with([*values, 1]), sum(values) + 1
    assert holds(shards, Aggregate.SUM, Op.EQ, total)
    assert not holds(shards, Aggregate.SUM, Op.GT, total)
    assert not holds(shards, Aggregate.SUM, Op.LT, total)


@pytest.mark.parametrize(
    "values",
    [
        [1e308, 1e308, -1e308],
        [1e308, 1e308, -1e308, -1e308, 1.0],
        [1.7e308, 1.7e308, 1.7e308, -1.7e308, -1.7e308],
        [2.0**1023, 2.0**1023, -1.0, -(2.0**1023)],
        [1e308, 1e308, -1e308, -1e308, 1e-300],  # scaling down would lose the small term
        [1e308, 1e308, 5e-324, -1e308, -1e308],
        [2.0**1023, 2.0**970, 2.0**1023, 1e-300, -(2.0**1023)],  # half way between two floats, decided far below
    ],
    ids=str,
)
def test_a_float_sum_in_range_is_right_although_partial_sums_are_not(values: list[float]) -> None:
    expected = exact_sum(values)
    assert math.isfinite(expected)
    assert holds(shards_with(values), Aggregate.SUM, Op.EQ, expected)


@pytest.mark.parametrize(("values", "sign"), [([1e308, 1e308], 1), ([-1e308, -1e308, -1.0], -1)])
def test_a_float_sum_out_of_range_is_beyond_every_number(values: list[float], sign: int) -> None:
    op = Op.GT if sign > 0 else Op.LT
    assert holds(shards_with(values), Aggregate.SUM, op, sign * 1.7e308)


def test_cancellation_leaves_the_small_term() -> None:
    shards = shards_with([1e16, 0.1, -1e16])
    assert holds(shards, Aggregate.SUM, Op.EQ, 0.1)
    assert holds(shards, Aggregate.SUM, Op.NE, 0.0)


def test_tenths_do_not_drift() -> None:
    shards = shards_with([0.1] * 1000, seal_every=100)
    assert holds(shards, Aggregate.SUM, Op.EQ, exact_sum([0.1] * 1000))
    assert math.fsum([0.1] * 1000) != sum([0.1] * 1000)


def test_a_half_way_case_is_decided_by_the_smallest_term() -> None:
    """1 + 2**-53 lies half way between two floats; what is far below decides."""
    half = 2.0**-53
    assert holds(shards_with([1.0, half, 1e-300]), Aggregate.SUM, Op.EQ, math.nextafter(1.0, 2.0))
    assert holds(shards_with([1.0, half, -1e-300]), Aggregate.SUM, Op.EQ, 1.0)
    assert holds(shards_with([1.0, half]), Aggregate.SUM, Op.EQ, 1.0)


@pytest.mark.parametrize(
    "values", [[INT_MAX, 1], [INT_MIN, -1], [2**62] * 3, [INT_MAX, INT_MAX], [INT_MIN] * 5], ids=str
)
@pytest.mark.parametrize("seal_every", [1, 10])
def test_an_integer_sum_beyond_64_bits_is_the_integer_it_is(values: list[int], seal_every: int) -> None:
    total, shards = sum(values), shards_with(values, seal_every=seal_every)
    assert holds(shards, Aggregate.SUM, Op.GT, INT_MAX) == (total > 0)
    assert holds(shards, Aggregate.SUM, Op.LT, INT_MIN) == (total < 0)
    assert holds(shards, Aggregate.SUM, Op.EQ, float(total)) == (total == float(total))
    assert not holds(shards, Aggregate.SUM, Op.EQ, INT_MAX)
    assert holds(shards, Aggregate.AVG, Op.EQ, float(total) / len(values))


@pytest.mark.parametrize("values", [[INT_MAX, 1, -1], [1, INT_MAX, -1], [INT_MIN, -5, 5], [2**62, 2**62, -1]], ids=str)
@pytest.mark.parametrize("seal_every", [1, 2, 10])
def test_an_integer_sum_in_range_is_right_although_partial_sums_are_not(values: list[int], seal_every: int) -> None:
    """Otherwise arrival order and sealing would decide between an answer and an error."""
    assert holds(shards_with(values, seal_every=seal_every), Aggregate.SUM, Op.EQ, sum(values))


def test_a_sum_beyond_64_bits_does_not_disturb_who_shares_its_partition() -> None:
    bob = user("bob")
    records = [
        Event(ANN, "Buy", 1, {"n": INT_MAX}),
        Event(ANN, "Buy", 2, {"n": 1}),
        Change(bob, 1, {"plan": "x"}),
        Event(bob, "Buy", 1, {"n": 1}),
    ]
    segment = tree.All(
        (
            tree.AttributeTest("plan", tree.Compare(Op.EQ, "x")),
            tree.AggregateTest(Aggregate.SUM, "n", tree.Events(("Buy",)), tree.Always(), Op.GT, 0),
        )
    )
    answers = set[object]()
    for partition_count in (1, 2, 3, 5):
        shards = Shards(partition_count)
        shards.apply(records)
        answers.add(shards.ask(segment, CONTEXT).count)
    assert answers == {1}


def test_the_ends_of_int64_are_in_range() -> None:
    assert holds(shards_with([INT_MAX - 1, 1]), Aggregate.SUM, Op.EQ, INT_MAX)
    assert holds(shards_with([INT_MIN + 1, -1]), Aggregate.SUM, Op.EQ, INT_MIN)
    assert not holds(shards_with([INT_MAX - 1, 1]), Aggregate.SUM, Op.GE, 2.0**63)


def test_integers_and_floats_of_one_property_are_added_exactly() -> None:
    assert holds(shards_with([2**53 + 1, 0.5]), Aggregate.SUM, Op.EQ, float(Fraction(2**53 + 1) + Fraction(1, 2)))
    assert holds(shards_with([2**60 + 1, -float(2**60)]), Aggregate.SUM, Op.EQ, 1.0)


def test_minimum_and_maximum_compare_integers_and_floats_exactly() -> None:
    shards = shards_with([2**53 + 1, float(2**53)])
    assert holds(shards, Aggregate.MAX, Op.EQ, 2**53 + 1)
    assert not holds(shards, Aggregate.MAX, Op.EQ, 2.0**53)
    assert holds(shards, Aggregate.MIN, Op.EQ, 2**53)
    assert holds(shards, Aggregate.MAX, Op.NE, 2.0**53)


@pytest.mark.parametrize("aggregate", [Aggregate.MIN, Aggregate.MAX, Aggregate.AVG])
@pytest.mark.parametrize("op", list(Op))
def test_what_is_undefined_compares_false_with_everything(aggregate: Aggregate, op: Op) -> None:
    shards = Shards()
    values = ({"amount": "much"}, {"amount": True}, {"amount": [1]}, {})
    shards.apply([Event(ANN, "Buy", ts, properties) for ts, properties in enumerate(values)])
    assert not holds(shards, aggregate, op, 0)


def test_the_sum_of_nothing_is_zero() -> None:
    shards = Shards()
    shards.apply([Event(ANN, "View", 0)])
    assert holds(shards, Aggregate.SUM, Op.EQ, 0)
    assert not holds(shards, Aggregate.SUM, Op.NE, 0)


@given(st.lists(st.lists(FLOATS, max_size=20), min_size=1, max_size=5))
@settings(max_examples=100)
def test_exact_sums_kernel_rounds_each_group_once(groups: list[list[float]]) -> None:
    starts = np.cumsum([0, *map(len, groups)]).astype(np.int64)
    out = np.empty(len(groups))
    terms = np.array([value for group in groups for value in group], np.float64)
    exact_sums(starts, terms.view(np.int64), out)
    assert out.tolist() == [float(exact_sum([0.0, *group])) for group in groups]
