"""Each measure gives each user the very number of the oracle: asked with = and with < and > around it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from tests import oracle, strategies
from tests.oracle_events import Number, number_of
from tests.raw_records import Event, Record, User
from tests.shards import Shards

_POOLS = (
    (1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 1.0, 2, 2.5, 2.0, -0.0, 0, 0.0),
    (2**53, 2**53 + 1, 2**53 - 1, float(2**53), 2**62, 2**63 - 1, -(2**63), 2.0**63, -(2.0**63), 9.3e18),
    (0.1, 0.2, 0.3, 1e300, -1e300, 1e308, 1.5e308, 5e-324),
    (1, "a", "b", True, False, ["a"], [1], [1.0], 1.0, None),
)


def _records(seed: int, count: int) -> list[Record]:
    random = Random(seed)
    pool = random.choice(_POOLS)
    days = random.choice((3, 20, 60))
    return [
        Event(
            random.choice(strategies.USERS[:3]),
            random.choice("AB"),
            strategies.BORDER_MS + random.randrange(days * 24) * 3_600_000,
            {"p": random.choice(pool)} if random.random() < 0.9 else {},
        )
        for _ in range(count)
    ]


def _values(measure: tree.Measure, records: list[Record], context: tree.Context) -> dict[User, Number | None]:
    return {
        profile.user: number_of(measure, lambda events, window: oracle.done(events, window, profile, context), context)
        for profile in oracle.population(records, context)
    }


@pytest.mark.parametrize("function", tree.Measured, ids=str)
@given(st.integers(0, 1 << 32), st.sampled_from((4, 30, 90)), st.sampled_from((("A",), ("A", "B"))))
@settings(max_examples=25, deadline=None)
def test_each_measure_gives_the_oracles_number(
    function: tree.Measured, seed: int, count: int, names: tuple[str, ...]
) -> None:
    records = _records(seed, count)
    context = tree.Context(strategies.BORDER_MS + 50 * strategies.DAY_MS, strategies.ZONES[seed % 4])
    name = "p" if function in tree.PROPERTY_MEASURES else None
    measure = tree.Measure(function, tree.Events(names), name)
    expected = _values(measure, records, context)
    shards = Shards(2)
    for start in range(0, len(records), 13):
        shards.apply(records[start : start + 13])
        if seed % 3 and start < 40:
            shards.seal()

    def members(op: tree.Op, value: Number) -> set[User]:
        return shards.members(tree.ExpressionTest(tree.Number(value), op, measure), context)

    for value in {v for v in expected.values() if v is not None and (isinstance(v, float) or abs(v) < 2**63)}:
        assert members(tree.Op.EQ, value) == {user for user, v in expected.items() if v is not None and v == value}
        assert members(tree.Op.LT, value) == {user for user, v in expected.items() if v is not None and value < v}
        assert members(tree.Op.NE, value) == {user for user, v in expected.items() if v is not None and v != value}


@given(st.integers(0, 1 << 32), st.sampled_from(tree.ArithmeticOp), st.sampled_from(tree.ArithmeticOp))
@example(1294, tree.ArithmeticOp.ADD, tree.ArithmeticOp.ADD)  # a sum beyond 64 bits that a number brings back
@settings(max_examples=100, deadline=None)
def test_what_is_calculated_is_the_oracles_number(
    seed: int, outer: tree.ArithmeticOp, inner: tree.ArithmeticOp
) -> None:
    records, random = _records(seed, 20), Random(seed)
    context = tree.Context(strategies.BORDER_MS + 50 * strategies.DAY_MS)
    numbers = (3, -1, 0, 2.5, 2**62, -(2**63), 9007199254740993, 1e300)
    functions = (tree.Measured.COUNT, tree.Measured.SUM, tree.Measured.MAX, tree.Measured.MEDIAN)

    def measure() -> tree.Measure:
        function = random.choice(functions)
        name = "p" if function in tree.PROPERTY_MEASURES else None
        return tree.Measure(function, tree.Events((random.choice("AB"),)), name)

    number = tree.Number(random.choice(numbers))
    formula = tree.Arithmetic(outer, tree.Arithmetic(inner, measure(), number), measure())
    shards = Shards()
    shards.apply(records)
    expected = {
        profile.user: number_of(formula, lambda events, window: oracle.done(events, window, profile, context), context)
        for profile in oracle.population(records, context)
    }
    for value in {v for v in expected.values() if v is not None}:
        found = shards.members(tree.ExpressionTest(formula, tree.Op.EQ, tree.Number(value)), context)
        assert found == {user for user, v in expected.items() if v is not None and v == value}
        found = shards.members(tree.ExpressionTest(formula, tree.Op.LE, tree.Number(value)), context)
        assert found == {user for user, v in expected.items() if v is not None and v <= value}
