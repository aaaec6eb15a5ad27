"""Worked examples that others have published, asked in our words: the numbers are theirs, the source stands beside."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cdp_query import tree
from cdp_query.calendar.windows import resolve
from cdp_query.partial import Partial
from cdp_query.pipeline import prepare
from cdp_query.reports.lifecycle_report import lifecycle_rows
from cdp_query.reports.retention_report import retention_rows
from cdp_store.values import to_datetime, to_ms
from tests.raw_records import Event, Record, user
from tests.shards import Shards

ANN = user("ann")


def _at(iso: str) -> int:
    return to_ms(datetime.fromisoformat(iso).replace(tzinfo=UTC))


def _ask(text: str, records: list[Record], as_of: str = "2030-01-01") -> Partial:
    shards = Shards(2)
    shards.apply(records)
    context = tree.Context(_at(as_of))
    return shards.ask(prepare(text, None, context), context)


def _in_a_row(*names: str) -> list[Record]:
    """Events of one user, a second apart."""
    return [Event(ANN, name, _at("2020-01-01") + 1000 * place) for place, name in enumerate(names)]


# --------------------------------------------------------------------------------------------------- sequences, funnels


def test_clickhouse_window_funnel_puts_events_in_order_of_time() -> None:
    """windowFunnel: a search, an order, a purchase and another one, stored in another order than they happened."""
    done = [("1003", "2019-01-29T10:00"), ("1007", "2019-01-31T09:00"), ("1009", "2019-01-30T08:00")]
    records: list[Record] = [Event(ANN, name, _at(iso)) for name, iso in [*done, ("1010", "2019-02-01T08:00")]]
    found = _ask('funnel("1003" -> "1009" -> "1007" -> "1010", from: 2019-01-01, to: 2019-02-02)', records)
    assert found.steps == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("names", "steps"),
    [(("c1", "c2", "c3", "c4"), (1, 1, 1)), (("c4", "c3", "c2", "c1"), (1, 0, 0)), (("c4", "c3"), (0, 0, 0))],
)
def test_hologres_window_funnel_levels_three_one_and_none(names: tuple[str, ...], steps: tuple[int, ...]) -> None:
    """windowFunnel of Hologres and GaussDB: conditions c1, c2, c3 and a window that is long enough."""
    assert _ask('funnel("c1" -> "c2" -> "c3", within: 1d)', _in_a_row(*names)).steps == steps


def test_clickhouse_sequence_match_skips_what_is_no_event_and_stops_at_what_is() -> None:
    """sequenceMatch over 1, 3, 2: found, not found with 3 as a condition of its own, found with 4 as one."""
    records = _in_a_row("1", "3", "2")
    assert _ask('sequence("1" -> "2")', records).count == 1
    assert _ask('sequence("1" -> without "3" -> "2")', records).count == 0
    assert _ask('sequence("1" -> without "4" -> "2")', records).count == 1


def test_clickhouse_sequence_count_counts_chains_that_do_not_overlap() -> None:
    """sequenceCount of (?1).*(?2) over 1, 3, 2, 1, 3, 2 is 2: our mode totals, where deepest counts the user once."""
    records = _in_a_row("1", "3", "2", "1", "3", "2")
    assert _ask('funnel("1" -> "2", mode: totals)', records).steps == (2, 2)
    assert _ask('funnel("1" -> "2")', records).steps == (1, 1)


def test_clickhouse_strict_order_stops_at_an_event_of_another_step() -> None:
    """windowFunnel strict_order: in A, B, D, C the chain A -> B -> C ends at D, where D is one of the conditions."""
    records = _in_a_row("A", "B", "D", "C")
    assert _ask('funnel("A" -> "B" -> "C" -> "D", order: strict)', records).steps == (1, 1, 0, 0)
    assert _ask('funnel("A" -> "B" -> "C" -> "D")', records).steps == (1, 1, 1, 0)


def test_clickhouse_strict_increase_takes_growing_times_only() -> None:
    """windowFunnel strict_increase: conditions are met by events with strictly increasing timestamps."""
    moment = _at("2020-01-01")
    records: list[Record] = [Event(ANN, "A", moment), Event(ANN, "B", moment)]
    assert _ask('funnel("A" -> "B", tie: strict)', records).steps == (1, 0)
    assert _ask('funnel("A" -> "B")', records).steps == (1, 1)


def test_the_first_entry_is_the_only_attempt_that_mode_looks_at() -> None:
    """Our own example, for want of a published one: the first attempt runs out of time, the second converts."""
    records: list[Record] = [
        Event(ANN, name, _at(iso))
        for name, iso in [("A", "2020-01-01"), ("A", "2020-01-05"), ("B", "2020-01-05T12:00")]
    ]
    assert _ask('funnel("A" -> "B", within: 1d, mode: first_entry)', records).steps == (1, 0)
    assert _ask('funnel("A" -> "B", within: 1d, mode: deepest)', records).steps == (1, 1)
    assert _ask('funnel("A" -> "B", within: 1d, mode: totals)', records).steps == (2, 1)


# ------------------------------------------------------------------------------------------------------------ retention


def _row(text: str, records: list[Record], label: str) -> tuple[int, tuple[int, ...]]:
    """(users, returned) of one cohort."""
    context = tree.Context(_at("2030-01-01"))
    report = prepare(text, None, context)
    assert isinstance(report, tree.Retention)
    shards = Shards(2)
    shards.apply(records)
    rows = retention_rows(report, shards.ask(report, context).report, context)
    return next((row.users, row.returned) for row in rows if row.label == label)


def test_clickhouse_retention_of_the_users_of_a_first_day() -> None:
    """retention(): users 0-4 on the first of January 2020, 0-9 on the second, 0-14 on the third: 5, 5 and 5."""
    records: list[Record] = [
        Event(user(f"u{number}"), "visit", _at(day))
        for day, users in (("2020-01-01", 5), ("2020-01-02", 10), ("2020-01-03", 15))
        for number in range(users)
    ]
    text = 'retention("visit", return: "visit", unit: day, periods: 3, start: calendar)'
    assert _row(text, records, "2020-01-01") == (5, (0, 5, 5)), "their first condition is the entry, which is no return"
    assert _row(text, records, "2020-01-02") == (5, (0, 5, 0))


_EVENING = "2020-12-01T17:59"


@pytest.mark.parametrize(
    ("returned_at", "rolling", "calendar"),
    [
        ("2020-12-02T17:58", (1, 0, 0), (0, 1, 0)),
        ("2020-12-02T17:59", (0, 1, 0), (0, 1, 0)),
        ("2020-12-03T17:58", (0, 1, 0), (0, 0, 1)),
        ("2020-12-03T17:59", (0, 0, 1), (0, 0, 1)),
    ],
)
def test_amplitude_days_of_24_hours_and_days_of_the_calendar(
    returned_at: str, rolling: tuple[int, ...], calendar: tuple[int, ...]
) -> None:
    """Day 1 runs from hour 24 to hour 48 after the entry, or over the next date; we do not round times to hours."""
    records: list[Record] = [Event(ANN, "start", _at(_EVENING)), Event(ANN, "return", _at(returned_at))]
    text = 'retention("start", return: "return", unit: day, periods: 3, start: {})'
    assert _row(text.format("rolling"), records, "2020-12-01") == (1, rolling)
    assert _row(text.format("calendar"), records, "2020-12-01") == (1, calendar)


def test_amplitude_return_on_or_after_counts_all_days_before_the_return_too() -> None:
    """Who returns on day two is counted for days one and zero as well; return on counts day two only."""
    records: list[Record] = [Event(ANN, "start", _at(_EVENING)), Event(ANN, "return", _at("2020-12-03T20:00"))]
    text = 'retention("start", return: "return", unit: day, periods: 4, mode: {})'
    assert _row(text.format("on_or_after"), records, "2020-12-01") == (1, (1, 1, 1, 0))
    assert _row(text.format("on"), records, "2020-12-01") == (1, (0, 0, 1, 0))


# ----------------------------------------------------------------------------------------------------- calendar windows


@pytest.mark.parametrize(
    ("window", "as_of", "first", "source"),
    [
        (tree.This("year"), "2001-02-16T20:38:40", "2001-01-01", "PostgreSQL, date_trunc of a year"),
        (tree.This("day"), "2001-02-16T20:38:40", "2001-02-16", "PostgreSQL, date_trunc of a day"),
        (tree.This("month"), "1992-03-07", "1992-03-01", "DuckDB, date_trunc of a month"),
        (tree.This("week"), "2017-11-05", "2017-10-30", "BigQuery, DATE_TRUNC of a Sunday to its Monday"),
        (tree.This("week"), "2005-01-01", "2004-12-27", "ISO 8601: 1 January 2005 is Saturday of week 53 of 2004"),
        (tree.This("week"), "2008-12-31", "2008-12-29", "ISO 8601: 29 December 2008 is Monday of week 1 of 2009"),
        (tree.Last(tree.Duration(1, "mo")), "2007-03-31", "2007-02-28T00:00:00.001", "Java, LocalDate.minusMonths"),
        (tree.Last(tree.Duration(1, "y")), "2008-02-29", "2007-02-28T00:00:00.001", "Java, LocalDate.minusYears"),
    ],
)
def test_calendar_arithmetic_of_published_examples(window: tree.Window, as_of: str, first: str, source: str) -> None:
    found = resolve(window, tree.Context(_at(as_of)))
    assert to_datetime(found.first_ms) == datetime.fromisoformat(first).replace(tzinfo=UTC), source
    assert found.last_ms == _at(as_of)


def test_the_previous_week_of_new_years_day_2005_is_week_52_of_2004() -> None:
    """ISO 8601: week 53 of 2004 holds that day, so week 52 is 20 to 26 December."""
    found = resolve(tree.Previous("week"), tree.Context(_at("2005-01-01")))
    assert (found.first_ms, found.last_ms) == (_at("2004-12-20"), _at("2004-12-27") - 1)


def test_a_calendar_window_of_days_is_full_days_and_today_so_far() -> None:
    """semantics.md, section 1: last_calendar: 7d is [start(day(T) - 7), T]; days_ago: 3 is exactly that day."""
    context = tree.Context(_at("2026-03-10T15:30"))
    week = resolve(tree.LastCalendar(tree.Duration(7, "d")), context)
    assert (week.first_ms, week.last_ms) == (_at("2026-03-03"), context.as_of_ms)
    day = resolve(tree.DaysAgo(3), context)
    assert (day.first_ms, day.last_ms) == (_at("2026-03-07"), _at("2026-03-08") - 1)
    month = resolve(tree.Previous("month"), context)
    assert (month.first_ms, month.last_ms) == (_at("2026-02-01"), _at("2026-03-01") - 1)


# ------------------------------------------------------------------------------------------------------------ lifecycle


def test_posthog_lifecycle_of_four_people_by_day() -> None:
    """PostHog's lifecycle, their example of 12 to 19 January 2020; they write dormant users below zero."""
    records: list[Record] = [
        Event(user(who), "$pageview", _at(f"2020-01-{day:02}T12:00"))
        for who, days in (("p1", (11, 12, 13, 15, 17, 19)), ("p2", (9, 12)), ("p3", (12,)), ("p4", (15,)))
        for day in days
    ]
    context = tree.Context(_at("2020-02-01"))
    report = prepare('lifecycle("$pageview", unit: day, from: 2020-01-12, to: 2020-01-19)', None, context)
    assert isinstance(report, tree.Lifecycle)
    shards = Shards(2)
    shards.apply(records)
    rows = lifecycle_rows(report, shards.ask(report, context).report, context)  # type: ignore[arg-type]
    assert [row.new for row in rows] == [1, 0, 0, 1, 0, 0, 0, 0]
    assert [row.returning for row in rows] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert [row.resurrecting for row in rows] == [1, 0, 0, 1, 0, 1, 0, 1]
    assert [row.dormant for row in rows] == [0, 2, 1, 0, 2, 0, 1, 0]
