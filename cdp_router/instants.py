"""When something happened, as senders and files write it: one reading for HTTP and for imports.

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
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Final

from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import to_ms

TEXT_MAX: Final = 40  # characters of an instant; no form is longer
UNITS: Final = ("s", "ms", "us", "ns")
_REMEMBERED: Final = 4096  # the events of a request share some of their times
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
# What `datetime.fromisoformat` takes beside these forms, such as a digit between date and time, is an accident.
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(-?[0-9])?)([T ][0-9].*)?", re.DOTALL
)
_POWERS: Final = {"s": 3, "ms": 0, "us": -3, "ns": -6}
_SECONDS_BELOW, _MS_BELOW, _US_BELOW = 10**11, 10**14, 10**17
_YEARS: Final = range(1900, 2101)
_MINUTE_DIGITS: Final = 12
_MONTHS: Final = range(1, 13)


class NoInstant(ValueError):
    """What was given is no instant; the message says why and what to write."""


def instant_of(value: float | str, unit: str | None = None, zone: tzinfo = UTC) -> int:
    """Epoch milliseconds of an ISO date or time or a count; `zone` is that of texts without one.

    `unit` (s, ms, us, ns) is that of counts where it is known. Raises NoInstant.
    """
    if isinstance(value, str):
        return _text_ms(value, unit, zone)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _none(value)
    return _count_ms(Decimal(repr(value)), unit, zone)


@lru_cache(_REMEMBERED)
def _text_ms(text: str, unit: str | None, zone: tzinfo) -> int:
    plain = text.strip().upper()
    if len(plain) > TEXT_MAX:
        raise _none(text)
    if plain[4:5] != "-" and _NUMBER.fullmatch(plain):
        return _count_ms(Decimal(plain), unit, zone)
    if not _ISO.fullmatch(plain):
        raise _none(text)
    try:
        instant = datetime.fromisoformat(plain)
        return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=zone))
    except (ValueError, OverflowError) as error:
        raise _none(text) from error


def _count_ms(count: Decimal, unit: str | None, zone: tzinfo) -> int:
    if count and count.adjusted() > 30:
        raise _none(count)
    if unit is None and count == (whole := int(count)):
        calendar = _calendar_ms(whole, zone)
        if calendar is not None:
            return calendar
    ms = math.floor(count.scaleb(_POWERS[unit or _unit_of(abs(count))]))
    if not TIME_MIN_MS <= ms <= TIME_MAX_MS:
        raise NoInstant(f"{str(count)[:TEXT_MAX]!r} lies outside of the years 1 to 9999")
    return ms


def _unit_of(size: Decimal) -> str:
    if size < _SECONDS_BELOW:
        return "s"
    return "ms" if size < _MS_BELOW else "us" if size < _US_BELOW else "ns"


def _calendar_ms(number: int, zone: tzinfo) -> int | None:
    """Milliseconds of digits that are a date or a date and time; NoInstant where they are a year or a month."""
    if number in _YEARS or (number // 100 in _YEARS and number % 100 in _MONTHS):
        raise NoInstant(f"'{number}' is a year or a month and no instant: write 2026-01-31T10:00:00Z, or 2026-01-31")
    if number > 0 and len(str(number)) == _MINUTE_DIGITS and _is_minute(str(number)):
        raise NoInstant(f"'{number}' may be a date with hour and minute, or milliseconds: write 2026-01-31T10:00:00Z")
    form = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}.get(len(str(number))) if number > 0 else None
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


def _none(value: object) -> NoInstant:
    return NoInstant(f"{str(value)[:TEXT_MAX]!r} is no time: write 2026-01-31T10:00:00Z")
