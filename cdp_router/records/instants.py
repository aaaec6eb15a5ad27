"""Instants as senders and files write them: one reading for HTTP and for imports.

A text of digits and the number of the same digits are the same instant, whatever wrote them:

| digits | read as |
|---|---|
| 8, a date of the years 1900 to 2100 (20260301) | that date, as its first instant |
| 14, a date and time of those years (20260301101500) | that time |
| below 10^11 (up to 11 digits) | seconds since 1970 |
| below 10^14 (12 to 14) | milliseconds |
| below 10^17 (15 to 17) | microseconds |
| above (18, 19) | nanoseconds |
| 4 that are a year, 6 that are a month of those years | refused: they name no instant |
| 12, a date of those years with hour and minute (202603011015) | refused: milliseconds of 1976 look the same |

So each unit stands for the years 1973 to 5138, and seconds for those before as well. A unit that is known overrides the
table. Everything is calculated with integers and rounded down to milliseconds.

An import reads the same table but takes less of it (`sure_ms`), because a wrong column of a file is wrong a million
times: dates of eight digits, and counts that are instants of the years 1990 to 2099 in their unit.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records.rules import TIME_YEARS
from cdp_store.values import to_ms

TEXT_MAX: Final = 40  # characters of an instant; no form is longer
PER_SECOND: Final = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
SURE_FIRST_MS: Final = to_ms(datetime(1990, 1, 1, tzinfo=UTC))
SURE_END_MS: Final = to_ms(datetime(2100, 1, 1, tzinfo=UTC))
_REMEMBERED: Final = 4096  # the events of a request often share times
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,9})?")
# Other forms that `datetime.fromisoformat` accepts, such as a digit between date and time, are accidental.
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(-?[0-9])?)([T ][0-9].*)?", re.DOTALL
)
_BELOW: Final = {"s": 10**11, "ms": 10**14, "us": 10**17}  # larger ones are nanoseconds
_YEARS: Final = range(1900, 2101)
_MINUTE_DIGITS: Final = 12
_MONTHS: Final = range(1, 13)
_DATE_DIGITS: Final = 8
_FORMS: Final = {_DATE_DIGITS: "%Y%m%d", 14: "%Y%m%d%H%M%S"}
_POWER_MAX: Final = 30  # powers of ten: nanoseconds of all supported years have fewer digits

Count = int | float | Decimal


class NoInstant(ValueError):
    """The given text or number is not an instant; the message says why and what to write."""


def instant_of(value: float | str, unit: str | None = None, zone: tzinfo = UTC) -> int:
    """Epoch milliseconds of an ISO date or time or a count; `zone` applies to texts without one.

    `unit` (s, ms, us, ns) is that of counts if it is known. Raises NoInstant.
    """
    if isinstance(value, str):
        plain = value.strip()
        if len(plain) > TEXT_MAX:  # long texts are not cached
            raise _none(plain)
        return _text_ms(plain, unit, zone)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _none(value)
    return _within_years(value, count_ms(value, unit, zone))


def count_ms(count: Count, unit: str | None = None, zone: tzinfo = UTC) -> int:
    """Epoch milliseconds of a count since 1970, or of a date in digits, by size unless the unit is known.

    A float counts as the decimal that it is written as. The result may lie beyond all years that can be stored. Raises
    NoInstant.
    """
    exact = _exact(count)
    if unit is None:
        calendar = _calendar_ms(exact, zone)
        if calendar is not None:
            return calendar
        unit = _unit_of(exact)
    return math.floor(exact * 1000 / PER_SECOND[unit])


def sure_ms(count: Count) -> int:
    """The same if only the size of a number is known: NoInstant if it could mean something else."""
    unit = sure_unit(count)
    if unit is not None:
        return count_ms(count, unit)
    exact = _exact(count)
    day = _calendar_ms(exact, UTC) if len(str(exact)) == _DATE_DIGITS else None
    if day is None:
        raise NoInstant(f"{_shown(count)} is not a count of s, ms, us or ns since 1970 that falls into 1990 to 2099")
    return day


def sure_unit(count: Count) -> str | None:
    """The unit of a count that `sure_ms` accepts; None for any other."""
    try:
        unit = _unit_of(_exact(count))
        return unit if SURE_FIRST_MS <= count_ms(count, unit) < SURE_END_MS else None
    except NoInstant:
        return None


def number_in(text: str) -> Decimal | None:
    """The number that a text represents, if any."""
    return Decimal(text) if len(text) <= TEXT_MAX and _NUMBER.fullmatch(text) else None


def iso_ms(text: str, zone: tzinfo = UTC) -> int:
    """Epoch milliseconds of an ISO date or time. Raises NoInstant."""
    plain = text.strip().upper()
    if len(plain) > TEXT_MAX or not _ISO.fullmatch(plain):
        raise _none(text)
    try:
        instant = datetime.fromisoformat(plain)
        return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=zone))
    except (ValueError, OverflowError) as error:
        raise _none(text) from error


@lru_cache(_REMEMBERED)
def _text_ms(text: str, unit: str | None, zone: tzinfo) -> int:
    count = number_in(text)
    return iso_ms(text, zone) if count is None else _within_years(count, count_ms(count, unit, zone))


def _within_years(value: Count, ms: int) -> int:
    if not TIME_MIN_MS <= ms <= TIME_MAX_MS:
        raise NoInstant(TIME_YEARS.said(what=_shown(value)))
    return ms


def _exact(count: Count) -> Fraction:
    """The exact number behind any spelling; NoInstant if it cannot be a count at all."""
    if isinstance(count, int):
        if abs(count) < 10**_POWER_MAX:
            return Fraction(count)
    else:
        decimal = Decimal(repr(count)) if isinstance(count, float) else count
        if decimal.is_finite() and (not decimal or abs(decimal.adjusted()) < _POWER_MAX):
            return Fraction(decimal)
    raise _none(count)


def _unit_of(count: Fraction) -> str:
    size = abs(count)
    return next((unit for unit, below in _BELOW.items() if size < below), "ns")


def _calendar_ms(count: Fraction, zone: tzinfo) -> int | None:
    """Milliseconds of digits that are a date or a date and time; NoInstant if they are a year or a month."""
    if count.denominator != 1:
        return None
    number = int(count)
    if number in _YEARS or (number // 100 in _YEARS and number % 100 in _MONTHS):
        raise NoInstant(f"'{number}' is a year or a month, not an instant: write 2026-01-31T10:00:00Z, or 2026-01-31")
    if number > 0 and len(str(number)) == _MINUTE_DIGITS and _is_minute(str(number)):
        raise NoInstant(f"'{number}' may be a date with hour and minute, or milliseconds: write 2026-01-31T10:00:00Z")
    form = _FORMS.get(len(str(number))) if number > 0 else None
    if form is None:
        return None
    try:
        instant = datetime.strptime(str(number), form)
    except ValueError:
        return None
    return to_ms(instant.replace(tzinfo=zone)) if instant.year in _YEARS else None


def _is_minute(digits: str) -> bool:
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M").year in _YEARS
    except ValueError:
        return False


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**TEXT_MAX:  # some are too long to be printed
        return f"a number of more than {TEXT_MAX} digits"
    return repr(str(value)[:TEXT_MAX])


def _none(value: object) -> NoInstant:
    return NoInstant(f"{_shown(value)} is not a time: write 2026-01-31T10:00:00Z")
