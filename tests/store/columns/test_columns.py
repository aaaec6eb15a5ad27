"""Narrow columns lose nothing: every kind, with and without presence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query.matching.decided import decide_codes
from cdp_query.matching.masks import column_mask
from cdp_query.matching.matchers import compile_condition
from cdp_query.tree import Compare, Context, Op
from cdp_store.columns.column import EventColumn, column_value_bounds, narrow
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind
from tests.raw_records import Event, user
from tests.shards import filled
from tests.store.contents import raws_of

Presence = list[bool]
CODES = st.integers(0, 2**32 - 2)
INT64S = st.one_of(
    st.integers(-5, 300), st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1])
)
DECIMALS = st.integers(-(2**33), 2**33).flatmap(lambda m: st.sampled_from([m / 10**scale for scale in range(6)]))
FLOATS = st.one_of(
    DECIMALS,
    DECIMALS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([-0.0, 0.0, 12.95, 0.1, 1e16, 5e-324, 2147483.647, 2147483.648, 214748.3647, 1.79e308]),
)
BY_KIND = {
    Kind.BOOL: st.integers(0, 1),
    Kind.INT: INT64S,
    Kind.TIME: st.integers(-62_135_596_800_000, 253_402_300_799_999),
    Kind.STRING: CODES,
    Kind.LIST: CODES,
    Kind.FLOAT: FLOATS,
}


@st.composite
def columns(draw: st.DrawFn) -> tuple[Kind, list[int | float], Presence | None]:
    """Values of one kind, all alike in size or not, and perhaps which of them are present (at least one)."""
    kind = draw(st.sampled_from(list(BY_KIND)))
    values = draw(st.lists(BY_KIND[kind], min_size=1, max_size=20))
    present = draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    if present is not None and (not any(present) or all(present)):
        present = None
    return kind, values, present


def _narrowed(kind: Kind, values: list[int | float], present: Presence | None) -> EventColumn:
    return narrow(kind, raws_of(values), None if present is None else np.array(present))


@given(columns())
@example((Kind.FLOAT, [0.5, -0.0], None))
@example((Kind.FLOAT, [1e308, 0.5], [False, True]))
@example((Kind.INT, [2**63 - 1, -(2**63)], None))
@example((Kind.INT, [2**63 - 1, 5], [False, True]))
@example((Kind.INT, [-(2**63), 2**63 - 1], [True, False]))
@settings(max_examples=500)
def test_narrow_is_lossless(column: tuple[Kind, list[int | float], Presence | None]) -> None:
    kind, values, present = column
    narrowed = _narrowed(kind, values, present)
    kept = [True] * len(values) if present is None else present
    assert (narrowed.presence() is None) == (present is None)
    assert present is None or narrowed.presence().tolist() == present  # type: ignore[union-attr]
    raws = raws_of(values)
    assert [int(raw) for raw, k in zip(narrowed.raws(), kept, strict=True) if k] == [
        int(raw) for raw, k in zip(raws, kept, strict=True) if k
    ]


@given(columns())
@settings(max_examples=200)
def test_bounds_hold_every_present_value(column: tuple[Kind, list[int | float], Presence | None]) -> None:
    kind, values, present = column
    given_values = [value for value, k in zip(values, present or [True] * len(values), strict=True) if k]
    assert column_value_bounds(_narrowed(kind, values, present)) == (min(given_values), max(given_values))


@given(
    st.sampled_from([Kind.INT, Kind.FLOAT]),
    st.data(),
    st.sampled_from(list(Op)),
    st.one_of(INT64S, FLOATS),
    st.integers(-1, 1),
)
@settings(max_examples=300)
def test_comparing_a_narrow_column_is_comparing_its_values(
    kind: Kind, data: st.DataObject, op: Op, literal: float, near: int
) -> None:
    values = data.draw(st.lists(BY_KIND[kind], min_size=1, max_size=12))
    if near and isinstance(values[0], float):
        literal = math.nextafter(values[0], near * math.inf)
    elif near:
        literal = values[0] + near
    compare = {
        Op.EQ: lambda v: v == literal,
        Op.NE: lambda v: v == literal,
        Op.LT: lambda v: v < literal,
        Op.LE: lambda v: v <= literal,
        Op.GT: lambda v: v > literal,
        Op.GE: lambda v: v >= literal,
    }[op]  # of != a matcher decides the positive form
    if isinstance(literal, float) and not math.isfinite(literal):
        return
    matcher = compile_condition(Compare(op, literal), Context(0))
    mask = column_mask(
        _narrowed(kind, values, None), matcher, lambda kind: decide_codes(_view(), 0, kind, matcher, attribute=False)
    )
    assert mask.tolist() == [compare(value) for value in values]


def _view() -> PartitionView:
    return filled([Event(user("ann"), "View", 0)]).capture()


@pytest.mark.parametrize(
    ("kind", "values", "width"),
    [
        (Kind.INT, [0, 255], 1),
        (Kind.INT, [1000, 1255], 1),
        (Kind.INT, [1000, 1256], 2),
        (Kind.INT, [-5, 250], 1),
        (Kind.INT, [2**40, 2**40 + 70_000], 4),
        (Kind.INT, [0, 2**32], 8),
        (Kind.BOOL, [0, 1], 1),
        (Kind.TIME, [1_700_000_000_000, 1_700_000_000_100], 1),
        (Kind.FLOAT, [1.0, 2.0], 1),
        (Kind.FLOAT, [12.95, 0.05], 2),
        (Kind.FLOAT, [0.1, 1000.0001], 4),
        (Kind.FLOAT, [0.5**20, 1.0], 4),
        (Kind.FLOAT, [0.1 + 0.2, 1.0], 8),
        (Kind.FLOAT, [-0.0, 1.0], 8),
        (Kind.STRING, [7, 8], 1),
        (Kind.STRING, [0, 65_536], 4),
    ],
)
def test_width_follows_the_values(kind: Kind, values: list[int | float], width: int) -> None:
    assert _narrowed(kind, values, None).values.dtype.itemsize == width


def test_what_absent_entries_hold_does_not_widen_a_column() -> None:
    column = _narrowed(Kind.INT, [5, 2**62, 7], [True, False, True])
    assert column.values.dtype == np.uint8
    column = _narrowed(Kind.FLOAT, [0.5, 1e300, 1.5], [True, False, True])
    assert column.values.dtype == np.uint8
