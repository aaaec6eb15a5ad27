"""Numbers as instants: their size tells the unit, or says nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.epoch_times import PER_SECOND, counted_ms, date_of, number_ms, unit_of
from cdp_store.values import to_ms

_RANGE_MS = (to_ms(datetime(1990, 1, 1, tzinfo=UTC)), to_ms(datetime(2100, 1, 1, tzinfo=UTC)) - 1)


@given(st.integers(*_RANGE_MS), st.sampled_from(sorted(PER_SECOND)))
def test_the_size_of_a_count_tells_its_unit(ms: int, unit: str) -> None:
    count = ms * PER_SECOND[unit] // 1000
    assert unit_of(count) == unit
    assert number_ms(count) == ms // (1000 if unit == "s" else 1) * (1000 if unit == "s" else 1)


@given(st.integers(*_RANGE_MS))
def test_no_millisecond_is_lost_whatever_the_number_is_written_as(ms: int) -> None:
    assert number_ms(ms / 1000) == number_ms(Decimal(ms) / 1000) == number_ms(float(ms)) == ms


@given(st.dates(datetime(1900, 1, 1).date(), datetime(2099, 12, 31).date()))
def test_eight_digits_are_a_date(day: datetime) -> None:
    digits = int(day.strftime("%Y%m%d"))
    midnight = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
    assert number_ms(digits) == number_ms(float(digits)) == midnight


@pytest.mark.parametrize(
    "count",
    [0, 5, -1, 86_400, 20_261_301, 20_260_230, 631_151_999, 4_102_444_800, 99_999_999_999, 1e300, 1.5, float("inf"),
     float("nan"), Decimal("1e999999"), Decimal("1e-999999"), 10**4000, 20_260_301.5, 26_03_01, 20_260_301_093_000],
    ids=lambda count: repr(count)[:24],
)  # fmt: skip
def test_a_number_whose_size_tells_nothing_is_refused(count: float) -> None:
    with pytest.raises(ValueError, match="is no|not finite"):
        number_ms(count)


def test_dates_are_of_the_calendar() -> None:
    assert date_of(20_240_229) is not None
    assert date_of(20_230_229) is None


@given(st.integers(-(10**12), 10**13), st.sampled_from(("ms", "us", "ns")))
def test_a_count_of_a_unit_is_rounded_down(ms: int, unit: str) -> None:
    per = PER_SECOND[unit] // 1000
    assert counted_ms(ms * per, unit) == counted_ms(ms * per + per - 1, unit) == ms
    assert counted_ms(ms, "s") == ms * 1000


@pytest.mark.parametrize("count", [Decimal("1e30"), Decimal("1e-30"), 10**40, float("inf"), Decimal("nan")], ids=str)
def test_a_count_that_cannot_be_meant_is_refused_at_once(count: Decimal) -> None:
    with pytest.raises(ValueError, match="no count|not finite"):
        counted_ms(count, "s")
