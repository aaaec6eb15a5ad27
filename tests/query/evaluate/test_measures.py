"""Numbers about events: days, and what is calculated from measures, in examples worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from cdp_query import tree
from cdp_query.calendar.local_days import days_of, local_days
from cdp_query.language import parse
from cdp_store.limits import BUCKET_MS, DAY_MS
from cdp_store.values import to_ms
from tests.raw_records import Event, Record, user
from tests.shards import Shards

NOW = datetime(2026, 4, 15, 12, tzinfo=UTC)


def ms(text: str) -> int:
    """Epoch milliseconds of an ISO instant."""
    return to_ms(datetime.fromisoformat(text))


def events(who: str, name: str, *instants: str, **properties: object) -> list[Record]:
    return [Event(user(who), name, ms(instant), properties) for instant in instants]


def holds(text: str, records: list[Record], tz: str = "UTC", now: datetime = NOW) -> bool:
    """Whether ann is a member, the same in one sealed chunk, in two that overlap, and unsealed."""
    question, context = parse(text), tree.Context(to_ms(now), tz)
    assert not isinstance(question, tree.Funnel | tree.Breakdown)
    answers = set()
    for seal_after in (0, len(records) // 2, len(records)):
        shards = Shards()
        shards.apply(records[:seal_after])
        shards.seal()
        shards.apply(records[seal_after:])
        answers.add(user("ann") in shards.members(question, context))
    assert len(answers) == 1
    return answers.pop()


def test_days_are_local_dates() -> None:
    late = events("ann", "Open", "2026-03-01T23:30:00Z", "2026-03-02T00:30:00Z", "2026-03-02T22:59:59Z")
    assert holds('days("Open") = 2', late)
    assert holds('days("Open") = 1', late, "Europe/Berlin")
    assert holds('days("Open") = 2', late, "America/New_York")


def test_the_day_of_a_clock_change_is_one_day_whatever_its_length() -> None:
    spring = events("ann", "Open", "2026-03-28T23:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T21:59:59Z")
    assert holds('days("Open") = 1', spring, "Europe/Berlin")
    after = events("ann", "Open", "2026-03-29T22:00:00Z")
    assert holds('days("Open") = 2', spring + after, "Europe/Berlin")
    autumn = events("ann", "Open", "2025-10-25T22:00:00Z", "2025-10-26T00:30:00Z", "2025-10-26T22:59:59Z")
    assert holds('days("Open") = 1', autumn, "Europe/Berlin")
    assert holds('days("Open") = 2', [*autumn, *events("ann", "Open", "2025-10-26T23:00:00Z")], "Europe/Berlin")


def test_a_day_that_lies_in_two_buckets_counts_once() -> None:
    border = (ms("2026-03-01T00:00:00Z") // BUCKET_MS) * BUCKET_MS
    records: list[Record] = [Event(user("ann"), "Open", border + offset) for offset in (-1, 0, 1)]
    assert holds('days("Open") = 1', records, "America/New_York")
    assert holds('days("Open") = 2', records)


def test_days_of_several_names_are_counted_together() -> None:
    records = events("ann", "A", "2026-03-01T10:00:00Z", "2026-03-03T10:00:00Z")
    records += events("ann", "B", "2026-03-01T11:00:00Z", "2026-03-02T10:00:00Z")
    assert holds('days(["A", "B"]) = 3', records)
    assert holds('days("A") + days("B") = 4', records)


def test_days_zero_includes_those_who_never_did_it() -> None:
    assert holds('days("Never") = 0', events("ann", "A", "2026-03-01T10:00:00Z"))
    assert holds('days("Never") < 1', events("ann", "A", "2026-03-01T10:00:00Z"))


def test_two_measures_are_compared() -> None:
    records = events("ann", "View", *[f"2026-03-0{day}T10:00:00Z" for day in range(1, 6)])
    records += events("ann", "Buy", "2026-03-01T10:00:00Z", "2026-03-02T10:00:00Z")
    assert holds('count("View") > 2 * count("Buy")', records)
    assert not holds('count("View") > 2 * count("Buy") + 1', records)
    assert holds('count("Buy") / count("View") = 0.4', records)
    assert holds('count("View") - (count("Buy") - 1) * 2 = 3', records)
    assert holds('2.5 = count("View") / count("Buy")', records)


@pytest.mark.parametrize("op", ["=", "!=", "<", ">", "<=", ">="])
def test_a_division_by_nothing_is_undefined_and_false_for_every_comparison(op: str) -> None:
    records = events("ann", "View", "2026-03-01T10:00:00Z")
    assert not holds(f'count("View") / count("Never") {op} 1', records)
    assert not holds(f'1 {op} count("View") / count("Never")', records)


def test_integers_are_exact_up_to_64_bits_and_go_on_as_floats() -> None:
    one = events("ann", "View", "2026-03-01T10:00:00Z")
    assert holds('count("View") * 9007199254740993 = 9007199254740993', one)
    assert not holds('count("View") * 9007199254740993 = 9007199254740992', one)
    assert holds('count("View") * 9223372036854775807 > 9223372036854775806', one)
    assert holds('count("View") * 9223372036854775807 + count("View") = 9223372036854775808.0', one)
    assert holds('count("View") * 9223372036854775807 < 9223372036854775808.0', one)
    assert holds('count("View") * -9223372036854775808 * -1 = 9223372036854775808.0', one)


def test_events_at_the_ends_of_the_calendar_have_a_day() -> None:
    for tz in ("UTC", "America/New_York", "Pacific/Kiritimati"):
        for instant in (-62_135_596_800_000, 253_402_300_799_999):
            days = local_days(tz, instant, instant)
            assert days.starts[0] <= instant < days.starts[-1]
            assert days_of(np.array([instant]), tz).shape == (1,)


def test_a_stray_event_of_long_ago_does_not_change_the_days_of_others() -> None:
    times = np.array([-62_000_000_000_000, 0, DAY_MS, DAY_MS + 5, 1_774_746_000_000])
    alone = [days_of(times[i : i + 1], "Europe/Berlin")[0] for i in range(times.shape[0])]
    assert days_of(times, "Europe/Berlin").tolist() == alone


def bought(*amounts: object) -> list[Record]:
    return [Event(user("ann"), "Buy", ms("2026-03-01T10:00:00Z") + n, {"p": value}) for n, value in enumerate(amounts)]


def test_the_95th_percentile_is_the_least_value_that_95_percent_do_not_exceed() -> None:
    assert holds('p95("Buy".p) = 19', bought(*range(1, 21)))
    assert holds('p95("Buy".p) = 20', bought(*range(1, 22)))
    assert holds('p95("Buy".p) = 7', bought(7))


def test_the_median_of_an_even_count_is_the_mean_of_the_middle_two() -> None:
    assert holds('median("Buy".p) = 2', bought(3, 1, 2))
    assert holds('median("Buy".p) = 2.5', bought(4, 3, 1, 2))
    assert holds('median("Buy".p) = 9007199254740993', bought(9007199254740993, 9007199254740993))
    # The exact mean is 2**62 + 512.5: just above the middle of two float64 values.
    assert holds(f'median("Buy".p) = {float(2**62 + 1024)!r}', bought(2**62 + 512, 2**62 + 513))


@pytest.mark.parametrize("function", ["median", "p95", "min", "max", "avg"])
def test_what_has_no_numbers_is_undefined(function: str) -> None:
    for op in ("=", "!=", "<", ">"):
        assert not holds(f'{function}("Buy".p) {op} 0 * count("Buy")', bought("a", True, None))
    assert holds('sum("Buy".p) = 0 * count("Buy")', bought("a"))


def test_different_values_of_all_types_are_told_apart() -> None:
    assert holds('distinct("Buy".p) = 2', bought("a", "b", "a", None))
    assert holds('distinct("Buy".p) = 1', bought(1, 1.0, 1))
    assert holds('distinct("Buy".p) = 4', bought(1, True, "1", [1]))
    assert holds('distinct("Buy".p) = 0', bought(None))


def test_weeks_begin_on_local_mondays() -> None:
    days = ["2025-12-28", "2025-12-29", "2026-01-04", "2026-01-05"]  # a Sunday; a week of two years; a Monday
    records = events("ann", "Open", *[f"{day}T23:30:00Z" for day in days])
    assert holds('weeks("Open") = 3', records)
    assert holds('weeks("Open", after: 2025-12-29) = 2', records)
    assert holds('weeks("Open") = 2', records, "Europe/Berlin")
    assert holds('weeks("Never") = 0', records)
    assert holds('weeks("Open", hour() in 23..24) * 7 >= days("Open")', records)


def test_a_streak_is_the_longest_run_of_local_dates() -> None:
    days = ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-05", "2026-03-06"]
    records = events("ann", "Open", *[f"{day}T23:30:00Z" for day in days])
    assert holds('streak("Open") = 3', records)
    assert holds('streak("Open", after: 2026-03-03) = 2', records)
    across = events("ann", "Open", "2026-03-01T23:30:00Z", "2026-03-02T00:30:00Z")
    assert holds('streak("Open") = 2', across)
    assert holds('streak("Open") = 1', across, "Europe/Berlin")
