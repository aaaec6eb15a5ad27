"""Comparisons of stored numbers with literals are exact, in every domain a column may use."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query.matching.masks import range_mask
from cdp_query.matching.ranges import INT_MAX, INT_MIN, Number, Range, range_of
from cdp_query.tree import Op

COMPARE: dict[Op, Callable[[Number, Number], bool]] = {
    Op.EQ: operator.eq,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}
EDGES = [
    0,
    1,
    -1,
    2**53,
    2**53 + 1,
    2**53 - 1,
    -(2**53) - 1,
    INT_MAX,
    INT_MIN,
    INT_MAX - 1,
    2**63,
    -(2**63) - 1,
    10**30,
    0.0,
    -0.0,
    0.1,
    0.5,
    -0.5,
    2.0**53,
    2.0**53 + 2,
    2.0**63,
    -(2.0**63),
    1e300,
    -1e300,
    5e-324,
    9.223372036854775e18,
]


def _numbers() -> st.SearchStrategy[Number]:
    return st.one_of(
        st.sampled_from(EDGES), st.integers(-(2**64), 2**64), st.floats(allow_nan=False, allow_infinity=False)
    )


def _int64s() -> st.SearchStrategy[int]:
    inside = [int(edge) for edge in EDGES if isinstance(edge, int) and INT_MIN <= edge <= INT_MAX]
    return st.one_of(st.sampled_from(inside), st.integers(INT_MIN, INT_MAX))


def _float64s() -> st.SearchStrategy[float]:
    inside = [edge for edge in EDGES if isinstance(edge, float)]
    return st.one_of(st.sampled_from(inside), st.floats(allow_nan=False, allow_infinity=False))


@given(st.sampled_from(list(COMPARE)), _numbers(), _int64s())
@settings(max_examples=400)
def test_integers_inside_are_those_that_compare_so(op: Op, literal: Number, value: int) -> None:
    low, high = range_of(op, literal).integers()
    assert (low <= value <= high) == COMPARE[op](value, literal)


@given(st.sampled_from(list(COMPARE)), _numbers(), _float64s())
@settings(max_examples=400)
def test_floats_inside_are_those_that_compare_so(op: Op, literal: Number, value: float) -> None:
    low, high = range_of(op, literal).floats()
    assert (low <= value <= high) == COMPARE[op](value, literal)


@given(
    st.sampled_from(list(COMPARE)),
    st.integers(0, 4),
    st.integers(-(2**31), 2**31),
    st.integers(-3, 3),
    st.integers(-2, 2),
)
@example(Op.GE, 1, 3, 0, 0)
@example(Op.LT, 2, 1295, 0, 0)
@settings(max_examples=400)
def test_mantissas_inside_are_those_whose_decimal_compares_so(
    op: Op, scale: int, mantissa: int, near: int, ulps: int
) -> None:
    """Brute force around the literal, which is a decimal, or a neighbouring float of one."""
    literal = mantissa / 10**scale
    for _ in range(abs(ulps)):
        literal = float(np.nextafter(literal, np.inf if ulps > 0 else -np.inf))
    low, high = range_of(op, literal).mantissas(scale)
    for candidate in range(mantissa + near - 3, mantissa + near + 4):
        assert (low <= candidate <= high) == COMPARE[op](candidate / 10**scale, literal)


@given(st.integers(0, 4), _numbers(), st.integers(-(2**31), 2**31))
@settings(max_examples=200)
def test_mantissas_against_any_literal(scale: int, literal: Number, mantissa: int) -> None:
    for op, compare in COMPARE.items():
        low, high = range_of(op, literal).mantissas(scale)
        assert (low <= mantissa <= high) == compare(mantissa / 10**scale, literal)


@given(st.sampled_from(list(COMPARE)), _numbers())
@settings(max_examples=200)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int8, np.int16, np.int32, np.int64, np.float64])
def test_a_mask_over_any_width_is_exact(dtype: type[np.generic], op: Op, literal: Number) -> None:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = np.array([0.0, -0.0, 0.1, 1e300, -1e300, 2.0**53, 2.0**63, 5e-324, -1.5])
    else:
        info = np.iinfo(dtype)
        values = np.unique(np.array([info.min, info.min + 1, 0, 1, 100, info.max - 1, info.max], kind))
    expected = [COMPARE[op](value.item(), literal) for value in values]
    assert range_mask(values, range_of(op, literal)).tolist() == expected


def test_between_is_inclusive_on_both_ends() -> None:
    assert Range(1, 3).integers() == (1, 3)
    assert Range(0.5, 2.5).integers() == (1, 2)
    assert Range(0.1, 0.3).floats() == (0.1, 0.3)


def test_lower_and_upper_keep_their_open_ends() -> None:
    whole = Range(1, 3, low_open=True, high_open=True)
    assert whole.lower().integers() == (2, INT_MAX)
    assert whole.upper().integers() == (INT_MIN, 2)
