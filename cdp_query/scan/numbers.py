"""One number per row, integer or float, with exact arithmetic and comparison.

Integers stay int64 through + - * while the result fits. Beyond that, and with a float or a division, the calculation
continues in float64. A result that is no finite number is undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.tree import ArithmeticOp, Op
from cdp_store.arrays import F64, I64, AnyArray, Bools

_TWO_63: Final = 2.0**63
_SURE: Final = 2.0**62  # a product whose float64 form is below cannot have left int64
_TESTS: Final[dict[Op, Callable[[AnyArray, AnyArray], Bools]]] = {
    Op.EQ: np.equal,
    Op.NE: np.not_equal,
    Op.LT: np.less,
    Op.LE: np.less_equal,
    Op.GT: np.greater,
    Op.GE: np.greater_equal,
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """integers i64[n] hold if is_float is false, floats f64[n] if it is true, both only if `defined` is true.

    No floats means integers everywhere, no `defined` means defined everywhere.
    """

    integers: I64
    floats: F64 | None = None
    is_float: Bools | None = None
    defined: Bools | None = None

    def as_floats(self) -> F64:
        """All as float64, integers rounded to the nearest."""
        wide = self.integers.astype(np.float64)
        return wide if self.floats is None or self.is_float is None else np.where(self.is_float, self.floats, wide)

    def float_mask(self) -> Bools:
        """Mask of the numbers that are floats: bool[n]."""
        return np.zeros(self.integers.shape[0], np.bool_) if self.is_float is None else self.is_float


def constant(value: int | float, count: int) -> Numbers:
    """One number repeated in every row."""
    if isinstance(value, int):
        return Numbers(np.broadcast_to(np.int64(value), count))
    return Numbers(
        np.broadcast_to(np.int64(0), count),
        np.broadcast_to(np.float64(value), count),
        np.broadcast_to(np.bool_(True), count),
    )


def calculate(op: ArithmeticOp, left: Numbers, right: Numbers) -> Numbers:
    """left op right, row by row."""
    integers, beyond = _integer_result(op, left, right)
    is_float = left.float_mask() | right.float_mask() | beyond
    defined = _both(left.defined, right.defined)
    if not is_float.any():
        return Numbers(integers, defined=defined)
    floats = _float_result(op, left.as_floats(), right.as_floats())
    finite: Bools = ~is_float | np.isfinite(floats)
    return Numbers(integers, floats, is_float, _both(defined, finite))


def compare(op: Op, left: Numbers, right: Numbers) -> Bools:
    """Mask of the places where both sides are defined and left op right holds; ints and floats compare exactly."""
    if left.floats is None and right.floats is None:
        mask = _TESTS[op](left.integers, right.integers)
    else:
        mask = _TESTS[op](_order(left, right), np.zeros(1, np.int8))
    defined = _both(left.defined, right.defined)
    return mask if defined is None else mask & defined


def residuals(integers: I64) -> I64:
    """Remainders of rounding to float64: i - float64(i), i64[n].

    The pair (float64(i), residual) orders integers and floats together exactly; floats have residual 0.
    """
    rounded = integers.astype(np.float64)
    top = rounded >= _TWO_63
    back = np.where(top, 0.0, rounded).astype(np.int64)
    # 2**63 itself is no int64, so the difference is computed from the largest int64.
    return np.where(top, integers - np.iinfo(np.int64).max - 1, integers - back)


def _order(left: Numbers, right: Numbers) -> AnyArray:
    """-1, 0 or 1 per row as left is less than, equal to or greater than right: i8[n]."""
    first, second = left.as_floats(), right.as_floats()
    order = (first > second).astype(np.int8) - (first < second).astype(np.int8)
    rests = [np.where(side.float_mask(), 0, residuals(side.integers)) for side in (left, right)]
    by_rest = (rests[0] > rests[1]).astype(np.int8) - (rests[0] < rests[1]).astype(np.int8)
    return np.where(first == second, by_rest, order)


def _integer_result(op: ArithmeticOp, left: Numbers, right: Numbers) -> tuple[I64, Bools]:
    """(the result modulo 2**64, mask of the rows where it is not the true one)."""
    a, b = left.integers, right.integers
    match op:
        case ArithmeticOp.ADD:
            result = a + b
            return result, ((a ^ result) & (b ^ result)) < 0
        case ArithmeticOp.SUBTRACT:
            result = a - b
            return result, ((a ^ b) & (a ^ result)) < 0
        case ArithmeticOp.MULTIPLY:
            result = a * b
            beyond: Bools = np.abs(a.astype(np.float64) * b) >= _SURE
            unsure = np.flatnonzero(beyond)
            beyond[unsure] = _product_is_wrong(a[unsure], b[unsure], result[unsure])
            return result, beyond
    return np.zeros(a.shape[0], np.int64), np.ones(a.shape[0], np.bool_)


def _product_is_wrong(a: I64, b: I64, result: I64) -> Bools:
    """Tests whether a * b overflowed int64; no b is 0. Dividing back fails to show it for -2**63 / -1 alone."""
    with np.errstate(over="ignore"):
        wrong: Bools = (result // b != a) | ((b == -1) & (a == np.iinfo(np.int64).min))
    return wrong


def _float_result(op: ArithmeticOp, a: F64, b: F64) -> F64:
    with np.errstate(all="ignore"):
        match op:
            case ArithmeticOp.ADD:
                return a + b
            case ArithmeticOp.SUBTRACT:
                return a - b
            case ArithmeticOp.MULTIPLY:
                return a * b
        return a / b


def _both(first: Bools | None, second: Bools | None) -> Bools | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second
