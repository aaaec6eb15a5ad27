"""Instants as epoch milliseconds: the same integers everywhere, over the whole calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_store.values import to_datetime, to_ms

_OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
_INSTANTS = st.datetimes(timezones=_OFFSETS)


def _days_before(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Hinnant, days_from_civil)."""
    y = year - (month <= 2)
    era, shifted = y // 400, (month + 9) % 12
    in_era = (y - era * 400) * 365 + (y - era * 400) // 4 - (y - era * 400) // 100 + (153 * shifted + 2) // 5 + day - 1
    return era * 146_097 + in_era - 719_468


def _by_fields(instant: datetime) -> int:
    """Epoch milliseconds from the fields of a time on the clock, in whole microseconds."""
    offset = instant.utcoffset()
    assert offset is not None
    seconds = _days_before(instant.year, instant.month, instant.day) * 86_400
    seconds += instant.hour * 3600 + instant.minute * 60 + instant.second - (offset.days * 86_400 + offset.seconds)
    return (seconds * 1_000_000 + instant.microsecond - offset.microseconds) // 1000


@given(_INSTANTS)
def test_milliseconds_of_any_instant_are_those_of_its_fields_rounded_down(instant: datetime) -> None:
    assert to_ms(instant) == _by_fields(instant)


@given(st.integers(to_ms(datetime.min.replace(tzinfo=UTC)), to_ms(datetime.max.replace(tzinfo=UTC))))
def test_every_millisecond_of_the_calendar_survives_the_way_there_and_back(ms: int) -> None:
    assert to_ms(to_datetime(ms)) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:01.015Z", 1015),
        ("2004-03-04T12:09:43.110Z", 1_078_402_183_110),
        ("2107-02-22T06:33:57.004Z", 4_327_799_637_004),
        ("1952-08-16T23:04:04.547Z", -548_297_755_453),
        ("1969-12-31T23:59:59.999500Z", -1),
        ("1969-12-31T23:59:59.999001Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999),
    ],
)
def test_known_instants_are_exact(text: str, ms: int) -> None:
    assert to_ms(datetime.fromisoformat(text)) == ms


def test_an_instant_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        to_ms(datetime(2026, 1, 1))
