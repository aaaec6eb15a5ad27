"""Decimals of Arrow columns as the float64 or integer equal to each. Arrow's own cast rounds twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from cdp_router.importing.numbers import INT64_MAX, INT64_MIN, Unkept, decimal_of
from cdp_store.arrays import F64, I64, Bools

_SCALE_MAX: Final = 22  # powers of ten up to this one are exact float64s, so dividing by them rounds once
_DIGITS_MAX: Final = 15  # decimals with this many digits have a float64 each, and no two have the same
_BYTES_MIN: Final = 16  # digits of a decimal128, to which smaller ones are converted


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values of n decimals: floats f64[n] where is_float bool[n], integers i64[n] where is_integer bool[n].

    Where neither is true, there is no value, or no number equals it.
    """

    floats: F64
    is_float: Bools
    integers: I64
    is_integer: Bools


def numbers_of(column: pa.Array) -> Numbers:
    """The numbers of a column: integers if its type has no fractions, otherwise floats.

    A whole number that no float64 equals is an integer too. Decimals of more than 15 digits are converted one by one.
    """
    low, fits = _low_words(column)
    none: Bools = np.zeros(len(column), np.bool_)
    if column.type.scale == 0:
        return Numbers(np.zeros(len(column)), none, low, fits)
    floats, is_float = short_decimals(column)
    integers, is_integer = np.zeros(len(column), np.int64), none.copy()
    valid: Bools = column.is_valid().to_numpy(zero_copy_only=False)
    rest = np.flatnonzero(valid & ~is_float)
    for place, value in zip(rest.tolist(), column.take(pa.array(rest)).to_pylist(), strict=True):
        number = int(value) if column.type.scale < 0 else decimal_of(value)
        if isinstance(number, float):
            floats[place], is_float[place] = number, True
        elif not isinstance(number, Unkept) and INT64_MIN <= number <= INT64_MAX:
            integers[place], is_integer[place] = number, True
    return Numbers(floats, is_float, integers, is_integer)


def short_decimals(column: pa.Array) -> tuple[F64, Bools]:
    """The nearest float64s f64[n] of decimals with fractions and up to 15 digits, and a mask of those: bool[n]."""
    low, fits = _low_words(column)
    if not 0 < column.type.scale <= _SCALE_MAX:
        return np.zeros(len(column)), np.zeros(len(column), np.bool_)
    floats: F64 = low / 10.0**column.type.scale
    return floats, fits & (low > -(10**_DIGITS_MAX)) & (low < 10**_DIGITS_MAX)


def _low_words(column: pa.Array) -> tuple[I64, Bools]:
    """The lowest 64 bits of each decimal without its point, 0 where there is none; and a mask of those that fit."""
    kind = column.type
    if kind.byte_width < _BYTES_MIN:
        column = column.cast(pa.decimal128(kind.precision, kind.scale))
    words = column.type.byte_width // 8
    raw = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, words)[column.offset : column.offset + len(column)]
    valid: Bools = column.is_valid().to_numpy(zero_copy_only=False)
    low: I64 = np.where(valid, raw[:, 0], 0)
    fits: Bools = valid & (raw[:, 1:] == np.where(low < 0, -1, 0)[:, None]).all(axis=1)
    return low, fits
