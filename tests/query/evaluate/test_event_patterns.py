"""First, last and n-th events, shares, regularity, stopping and resuming, in examples worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.query.evaluate.test_measures import bought, events, holds, ms
from tests.raw_records import Event, Record, user


def at(instant: str, name: str = "Buy", **properties: object) -> Event:
    return Event(user("ann"), name, ms(instant), properties)


def test_first_and_last_look_at_events_that_have_the_property() -> None:
    records: list[Record] = [
        at("2026-03-03T00:00:00Z", p="c"),
        at("2026-03-01T00:00:00Z"),
        at("2026-03-02T00:00:00Z", p="a"),
        at("2026-03-04T00:00:00Z", p=None),
    ]
    assert holds('first("Buy".p) = "a" and last("Buy".p) = "c"', records)
    assert holds('first("Buy".p, after: 2026-03-02) contains "c"', records)
    assert holds('last("Buy".p, p != "c") in ["a", "b"]', records)


def test_among_equal_times_the_first_to_arrive_is_first_and_the_last_to_arrive_last() -> None:
    records: list[Record] = [at("2026-03-01T00:00:00Z", p=value) for value in (1, 2, 3, 4)]
    assert holds('first("Buy".p) = 1 and last("Buy".p) = 4', records)
    assert holds('nth("Buy", 2, p = 2) and nth("Buy", 3, p = 3)', records)


def test_among_equal_times_names_count_in_the_order_of_the_question() -> None:
    records: list[Record] = [at("2026-03-01T00:00:00Z", "B", p=1), at("2026-03-01T00:00:00Z", "A", p=2)]
    assert holds('first(["A", "B"].p) = 2 and last(["A", "B"].p) = 1', records)
    assert holds('first(["B", "A"].p) = 1 and last(["B", "A"].p) = 2', records)


@pytest.mark.parametrize("condition", ['= "a"', '!= "a"', "< 3", "> 3", 'not in ["a"]', 'not contains "a"'])
def test_without_a_value_first_and_last_are_false_for_every_condition(condition: str) -> None:
    assert not holds(f'first("Buy".p) {condition}', events("ann", "Buy", "2026-03-01T10:00:00Z"))
    assert not holds(f'mostly("Buy".p {condition})', events("ann", "Buy", "2026-03-01T10:00:00Z"))


def test_the_nth_event_is_counted_among_those_that_pass_the_filter_of_the_event() -> None:
    records = bought(5, 100, 7, 200)
    assert holds('nth("Buy", 2, p = 100)', records)
    assert holds('nth("Buy"(p > 50), 2, p = 200)', records)
    assert not holds('nth("Buy"(p > 50), 3)', records)
    assert holds('nth("Buy", 4) and not nth("Buy", 5)', records)


def test_mostly_is_the_most_frequent_value_and_every_tied_one() -> None:
    assert holds('mostly("Buy".p = "a")', bought("a", "b", "a"))
    assert not holds('mostly("Buy".p = "b")', bought("a", "b", "a"))
    assert holds('mostly("Buy".p = "a") and mostly("Buy".p = "b")', bought("a", "b"))
    assert holds('mostly("Buy".p = 1)', bought(1, 1.0, "a"))


def test_a_share_is_exact_and_a_literal_is_the_decimal_that_is_written() -> None:
    assert holds('share("Buy".p = "a") = 0.4', bought("a", "b", "a", "b", "c", None))
    assert holds('share("Buy".p = "a") >= 0.4 and share("Buy".p = "a") <= 0.4', bought("a", "b", "a", "b", "c"))
    assert not holds('share("Buy".p = "a") > 0.4 or share("Buy".p = "a") != 0.4', bought("a", "b", "a", "b", "c"))
    assert not holds('share("Buy".p = "a") = 0.3333333333333333', bought("a", "b", "c"))
    assert not holds('share("Buy".p = "a") >= 0', bought(None))
    assert holds('share("Buy".p > 1) = 0.5', bought(2, "a"))


def test_regularly_counts_in_the_complete_weeks_before_this_one() -> None:
    # 2026-04-15 is a Wednesday: the last complete weeks begin on Monday 30 March and 6 April.
    weeks = ["2026-03-30T00:00:00Z", "2026-04-05T23:59:59Z", "2026-04-06T00:00:00Z", "2026-04-12T23:00:00Z"]
    this_week = ["2026-04-13T00:00:00Z"] * 5
    records = events("ann", "Open", *weeks, *this_week)
    assert holds('regularly("Open", 2 per week, 2 of last 2)', records)
    assert holds('regularly("Open", 2 per week, 2 of last 5)', records)
    assert not holds('regularly("Open", 3 per week, 1 of last 5)', records)
    assert not holds('regularly("Open", 2 per week, 3 of last 5)', records)
    assert not holds('regularly("Open", 2 per week, 2 of last 2)', records, "Europe/Berlin")
    assert holds('regularly("Open", 2 per month, 1 of last 1)', events("ann", "Open", "2026-03-01T00:00:00Z", weeks[0]))


def test_stopped_and_resumed() -> None:
    before, gap, after = "2026-02-20T12:00:00Z", "2026-03-20T12:00:00Z", "2026-04-14T12:00:00Z"
    stopped = 'stopped("Open", ago: 30d..60d, last: 30d)'
    assert holds(stopped, events("ann", "Open", before))
    assert not holds(stopped, events("ann", "Open", before, after))
    assert not holds(stopped, events("ann", "Open", "2026-01-01T00:00:00Z"))
    resumed = 'resumed("Open", ago: 7d..30d)'
    assert holds(resumed, events("ann", "Open", before, after))
    assert not holds(resumed, events("ann", "Open", before, gap, after))
    assert not holds(resumed, events("ann", "Open", after))
    assert not holds(resumed, events("ann", "Open", before))
    dates = 'stopped("Open", from: 2026-02-01, to: 2026-02-28, from: 2026-03-01, to: 2026-03-31)'
    assert holds(dates, events("ann", "Open", before, after), now=datetime(2026, 4, 15, 12, tzinfo=UTC))
