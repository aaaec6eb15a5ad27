"""Instants written as numbers: the unit of a count since 1970 is told by its size, and eight digits may be a date.

Seconds, milliseconds, microseconds and nanoseconds of the years 1990 to 2099 are four ranges that do not touch. A
number inside one of them has that unit, and YYYYMMDD is far below all of them. Any other number says nothing for sure.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from cdp_store.values import to_ms

PER_SECOND: Final = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
FIRST_YEAR, LAST_YEAR = 1990, 2099
FIRST_SECOND: Final = to_ms(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)) // 1000
END_SECOND: Final = to_ms(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)) // 1000
assert END_SECOND < FIRST_SECOND * 1000, "a number has one unit only where the ranges do not touch"
_DATE_YEARS: Final = range(1900, 2100)
_DATE_DIGITS_MAX: Final = 99_991_231

_COUNT_MAX: Final = 10**24  # nanoseconds of all years there are are fewer
_COUNT_MIN: Final = 1e-24
_SHOWN_MAX: Final = 10**40

Count = int | float | Decimal


def unit_of(count: Count) -> str | None:
    """The unit in which a count since 1970 falls into the years 1990 to 2099; None where there is none."""
    if not _is_finite(count):
        return None
    return next((unit for unit, per in PER_SECOND.items() if FIRST_SECOND * per <= count < END_SECOND * per), None)


def counted_ms(count: Count, unit: str) -> int:
    """Epoch milliseconds of a count of units, rounded down; a float counts as the decimal that it is written as.

    Raises ValueError for what is not finite, or so large or small that it cannot be meant.
    """
    if not _is_finite(count):
        raise ValueError(f"{count!r} is not finite")
    if count and not _COUNT_MIN < (count if count > 0 else -count) < _COUNT_MAX:
        raise ValueError(f"{_shown(count)} is no count of {unit} since 1970")
    exact = Fraction(repr(count)) if isinstance(count, float) else Fraction(count)
    return math.floor(exact * 1000 / PER_SECOND[unit])


def date_of(count: Count) -> date | None:
    """The day that YYYYMMDD means, of the years 1900 to 2099."""
    if not 0 <= count <= _DATE_DIGITS_MAX or count != int(count):
        return None
    year, rest = divmod(int(count), 10_000)
    if year not in _DATE_YEARS:
        return None
    try:
        return date(year, *divmod(rest, 100))
    except ValueError:
        return None


def number_ms(count: Count) -> int:
    """Epoch milliseconds of a number by its size: a count since 1970, or YYYYMMDD.

    Raises ValueError where the size does not tell.
    """
    unit = unit_of(count)
    if unit is not None:
        return counted_ms(count, unit)
    day = date_of(count) if _is_finite(count) else None
    if day is None:
        raise ValueError(
            f"{_shown(count)} is no count of s, ms, us or ns since 1970 that falls into {FIRST_YEAR} to {LAST_YEAR}"
        )
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _shown(count: Count) -> str:
    return str(count)[:40] if -_SHOWN_MAX < count < _SHOWN_MAX else "a number of more than 40 digits"


def _is_finite(count: Count) -> bool:
    return isinstance(count, int) or math.isfinite(count)
