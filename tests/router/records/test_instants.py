"""Instants as senders write them: the same digits are the same instant, as text and as number."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.cli.data.row_mapping import AUTO, ColumnMapping, RowRejected, to_row
from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.times import instant_ms
from cdp_router.records.instants import PER_SECOND, NoInstant, count_ms, instant_of, sure_ms, sure_unit
from cdp_store.values import to_datetime, to_ms

_2000, _2100 = 946_684_800_000, 4_102_444_800_000
_MS = st.integers(_2000, _2100 - 1)
_DATES = st.dates(date(1900, 1, 1), date(2100, 12, 31))


@given(_MS)
def test_every_count_of_milliseconds_of_this_century_is_that_instant(ms: int) -> None:
    assert instant_of(str(ms)) == instant_of(ms) == instant_of(float(ms)) == ms


@given(_MS, st.integers(0, 999_999))
def test_seconds_microseconds_and_nanoseconds_are_told_apart_by_their_size(ms: int, below: int) -> None:
    for count, shown in ((ms // 1000, ms // 1000 * 1000), (ms * 1000 + below % 1000, ms), (ms * 10**6 + below, ms)):
        assert instant_of(count) == instant_of(str(count)) == shown
    assert instant_of(f"{ms // 1000}.{ms % 1000:03d}{below:06d}") == ms


@given(_MS)
def test_a_number_with_a_fraction_is_read_by_its_digits_and_not_its_bits(ms: int) -> None:
    seconds = float(Decimal(ms) / 1000)
    assert Decimal(repr(seconds)) == Decimal(ms) / 1000
    assert instant_of(seconds) == instant_of(repr(seconds)) == ms


@given(_DATES, st.times().map(lambda each: each.replace(microsecond=0)))
def test_digits_that_are_a_date_or_a_time_are_that_one(day: date, clock: object) -> None:
    instant = datetime.combine(day, clock, UTC)  # type: ignore[arg-type]
    assert (
        instant_of(f"{day:%Y%m%d}")
        == instant_of(int(f"{day:%Y%m%d}"))
        == to_ms(instant.replace(hour=0, minute=0, second=0))
    )
    digits = f"{instant:%Y%m%d%H%M%S}"
    assert instant_of(digits) == instant_of(int(digits)) == to_ms(instant)


@given(st.integers(-(10**20), 10**20), st.sampled_from([None, "s", "ms", "us", "ns"]))
def test_a_text_of_digits_and_its_number_are_always_the_same(count: int, unit: str | None) -> None:
    def read(value: int | str) -> int | str:
        try:
            return instant_of(value, unit)
        except NoInstant as error:
            return str(error)

    assert read(count) == read(str(count)) == read(f" {count} ")


@given(
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30)), ZoneInfo("Asia/Kolkata")]))
)
def test_what_isoformat_writes_is_read(instant: datetime) -> None:
    assert instant_of(instant.isoformat()) == instant_of(instant.isoformat(" ")) == to_ms(instant)


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        ("1795112100000", "2026-11-19T18:15:00Z"),
        ("1712011200000", "2024-04-01T22:40:00Z"),
        ("1772355600", "2026-03-01T09:00:00Z"),
        (1772355600, "2026-03-01T09:00:00Z"),
        ("1.7723556e9", "2026-03-01T09:00:00Z"),
        ("1772355600000000", "2026-03-01T09:00:00Z"),
        ("1772355600000000000", "2026-03-01T09:00:00Z"),
        ("20260301", "2026-03-01T00:00:00Z"),
        (20260301, "2026-03-01T00:00:00Z"),
        ("20260301T091500Z", "2026-03-01T09:15:00Z"),
        ("2026-03-01", "2026-03-01T00:00:00Z"),
        ("2026-03-01t09:00:00z", "2026-03-01T09:00:00Z"),
        ("2026-03-01 09:00:00.123456789+05:30", "2026-03-01T03:30:00.123Z"),
        ("20261301", "1970-08-23T12:08:21Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1.5, "1969-12-31T23:59:58.500Z"),
        ("-0.0001", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_known_forms(value: float | str, iso: str) -> None:
    assert to_datetime(instant_of(value)) == datetime.fromisoformat(iso)


@pytest.mark.parametrize(
    "value",
    [
        "", "soon", "2026", 2026, "202603", 202603, "2026-13-01", "2026-03-01110:15", "1_772_355_600",
        "202603011015", 202603010900, "190001010000", 210012312359,
        "٢٠٢٦٠٣٠١", "0x10", "+2026-03-01", "2026-03-01Z", [],
        "NaN", "Infinity", float("nan"), float("inf"), True, 10**21, "1e99", -(10**40), "1" * 41, "2026-03-01T25:00",
    ],
)  # fmt: skip
def test_what_names_no_instant_is_refused(value: object) -> None:
    with pytest.raises(NoInstant):
        instant_of(value)  # type: ignore[arg-type]


def test_a_unit_and_a_zone_that_are_known_count() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    assert instant_of("20260301", "s") == 20_260_301_000
    assert instant_of(1_772_355_600, "ms") == 1_772_355_600
    assert instant_of("2026-03-01T09:00", zone=tokyo) == instant_of("20260301090000", zone=tokyo) == 1_772_323_200_000
    assert instant_of("2026-03-01T09:00Z", zone=tokyo) == 1_772_355_600_000


_SURE_MS = (to_ms(datetime(1990, 1, 1, tzinfo=UTC)), to_ms(datetime(2100, 1, 1, tzinfo=UTC)) - 1)


@given(st.integers(*_SURE_MS), st.sampled_from(sorted(PER_SECOND)))
def test_the_size_of_a_count_tells_its_unit(ms: int, unit: str) -> None:
    count = ms * PER_SECOND[unit] // 1000
    assert sure_unit(count) == unit
    assert sure_ms(count) == ms // (1000 if unit == "s" else 1) * (1000 if unit == "s" else 1)


@given(st.integers(*_SURE_MS))
def test_no_millisecond_is_lost_whatever_the_number_is_written_as(ms: int) -> None:
    assert sure_ms(ms / 1000) == sure_ms(Decimal(ms) / 1000) == sure_ms(float(ms)) == ms


@given(_DATES)
def test_eight_digits_are_a_date_for_sure(day: date) -> None:
    digits = int(day.strftime("%Y%m%d"))
    midnight = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
    assert sure_ms(digits) == sure_ms(float(digits)) == midnight


@pytest.mark.parametrize(
    "count",
    [0, 5, -1, 86_400, 20_261_301, 20_260_230, 631_151_999, 4_102_444_800, 99_999_999_999, 1e300, 1.5, float("inf"),
     float("nan"), Decimal("1e999999"), Decimal("1e-999999"), 10**4000, 20_260_301.5, 26_03_01, 20_260_301_093_000],
    ids=lambda count: repr(count)[:24],
)  # fmt: skip
def test_a_number_whose_size_tells_nothing_for_sure_is_refused(count: float) -> None:
    with pytest.raises(NoInstant, match="is no"):
        sure_ms(count)


def test_dates_are_of_the_calendar() -> None:
    assert sure_ms(20_240_229) == to_ms(datetime(2024, 2, 29, tzinfo=UTC))
    with pytest.raises(NoInstant):
        sure_ms(20_230_229)


@given(st.integers(-(10**12), 10**13), st.sampled_from(("ms", "us", "ns")))
def test_a_count_of_a_unit_is_rounded_down(ms: int, unit: str) -> None:
    per = PER_SECOND[unit] // 1000
    assert count_ms(ms * per, unit) == count_ms(ms * per + per - 1, unit) == ms
    assert count_ms(ms, "s") == ms * 1000


@pytest.mark.parametrize("count", [Decimal("1e30"), Decimal("1e-30"), 10**40, float("inf"), Decimal("nan")], ids=str)
def test_a_count_that_cannot_be_meant_is_refused_at_once(count: Decimal) -> None:
    with pytest.raises(NoInstant, match="is not a time"):
        count_ms(count, "s")


_IMPORTED = ColumnMapping(time_unit=AUTO, profiles=True)
_DIGITS = st.one_of(
    st.from_regex(r"[1-9][0-9]{0,19}", fullmatch=True),
    _DATES.map("{:%Y%m%d}".format),
    st.datetimes(datetime(1985, 1, 1), datetime(2105, 1, 1)).map("{:%Y%m%d%H%M%S}".format),
    st.builds(
        lambda ms, per: str(ms * per // 1000), st.integers(_SURE_MS[0] - 10**10, _SURE_MS[1] + 10**10),
        st.sampled_from(sorted(PER_SECOND.values())),
    ),
)  # fmt: skip


@given(_DIGITS, st.sampled_from(["", ".5", ".000001", "e0"]))
def test_an_import_reads_digits_as_http_does_and_refuses_what_is_not_sure(digits: str, rest: str) -> None:
    text = digits + rest
    number: float = float(text) if rest else int(text)
    over_http = _posted(text)
    is_count = over_http is not None and _SURE_MS[0] <= over_http <= _SURE_MS[1] and len(digits) != 14
    assert _imported(text) == (over_http if is_count or _is_date(text) else None)
    assert _imported(number) in (None, _posted(number))


def _is_date(text: str) -> bool:
    try:
        return len(whole := str(Decimal(text))) == 8 and 1900 <= datetime.strptime(whole, "%Y%m%d").year <= 2100
    except ValueError:
        return False


def _imported(value: float | str) -> int | None:
    try:
        return to_row({"user_id": "a", "time": value}, _IMPORTED)[3]
    except RowRejected as error:
        assert error.code == "TIME_INVALID" and "--time-unit" in error.reason
        return None


def _posted(value: float | str) -> int | None:
    try:
        return instant_ms(value)
    except RecordInvalid:
        return None
