"""When an event happened: windows of each user, recency, local hours and weekdays, in examples worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.query.evaluate.test_measures import events, holds
from tests.raw_records import Change, Record, user


def signed_up(instant: str) -> list[Record]:
    return events("ann", "Signup", instant)


def test_the_window_of_a_first_event_has_both_ends_in_it() -> None:
    records = [*signed_up("2026-03-01T10:00:00Z"), *signed_up("2026-03-05T10:00:00Z")]
    window = 'within: 7d, of_first: "Signup"'
    assert holds(f'did("Buy", {window})', records + events("ann", "Buy", "2026-03-01T10:00:00Z"))
    assert holds(f'did("Buy", {window})', records + events("ann", "Buy", "2026-03-08T10:00:00Z"))
    assert not holds(f'did("Buy", {window})', records + events("ann", "Buy", "2026-03-08T10:00:00.001Z"))
    assert not holds(f'did("Buy", {window})', records + events("ann", "Buy", "2026-03-01T09:59:59.999Z"))


def test_without_a_first_event_nothing_qualifies() -> None:
    records = events("ann", "Buy", "2026-03-01T10:00:00Z")
    assert not holds('did("Buy", within: 7d, of_first: "Signup")', records)
    assert holds('count("Buy", within: 7d, of_first: "Signup") = 0', records)
    assert holds('did("Buy", within: 0d, of_first: ["Signup", "Buy"])', records)


def test_a_window_starts_at_a_time_in_an_attribute() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    records: list[Record] = [Change(user("ann"), 0, {"renewed": start, "plan": "gold"})]
    records += events("ann", "Buy", "2026-02-28T10:00:00Z", "2026-03-01T00:00:00Z", "2026-03-05T00:00:00Z")
    assert holds('count("Buy", since: renewed) = 2', records)
    assert holds('days("Buy", since: renewed) = 2', records)
    assert holds('count("Buy", since: plan) = 0', records)
    assert holds('count("Buy", since: never) = 0', records)


def test_the_first_event_ever_is_looked_for_before_the_window_of_the_user() -> None:
    records = [
        *signed_up("2026-03-01T10:00:00Z"),
        *events("ann", "Buy", "2026-02-01T10:00:00Z", "2026-03-02T10:00:00Z"),
    ]
    assert not holds('first_time("Buy", within: 7d, of_first: "Signup")', records)
    assert holds('last_time("Buy", within: 7d, of_first: "Signup")', records)


def test_recency_compares_with_elapsed_time() -> None:
    records = events("ann", "Open", "2026-03-16T12:00:00Z", "2026-02-01T00:00:00Z")
    assert holds('recency("Open") = 30d', records)
    assert holds('recency("Open") >= 30d and recency("Open") <= 30d', records)
    assert not holds('recency("Open") > 30d or recency("Open") < 30d or recency("Open") != 30d', records)
    assert holds('recency("Open") > 29d and recency("Open") < 31d', records)
    assert holds('recency("Open") < 1mo and recency("Open", before: 2026-03-01) > 2mo', records)


@pytest.mark.parametrize(
    ("op", "expected"), [(">", True), (">=", True), ("!=", True), ("<", False), ("<=", False), ("=", False)]
)
def test_never_done_is_infinitely_long_ago(op: str, expected: bool) -> None:
    assert holds(f'recency("Never") {op} 30d', events("ann", "Open", "2026-03-16T12:00:00Z")) is expected


def test_inactive_looks_at_events_of_every_name() -> None:
    records = events("ann", "Open", "2026-03-16T12:00:00Z")
    assert holds("inactive(30d)", records)
    assert not holds("inactive(31d)", records)
    assert holds("inactive(30d)", [Change(user("ann"), 0, {"plan": "gold"})])


def test_hours_are_local_half_open_and_may_wrap_midnight() -> None:
    at_nine = events("ann", "Open", "2026-07-01T09:00:00Z")
    now = datetime(2026, 8, 1, tzinfo=UTC)
    assert holds('did("Open", hour() in 9..17)', at_nine, now=now)
    assert not holds('did("Open", hour() in 8..9)', at_nine, now=now)
    assert holds('did("Open", hour() in 11..12)', at_nine, "Europe/Berlin", now)
    assert holds('did("Open", hour() in 22..10)', at_nine, now=now)
    assert not holds('did("Open", hour() not in 22..10)', at_nine, now=now)
    assert holds('hour("Open", last: 60d) in 9..10', at_nine, now=now)


def test_weekdays_are_local() -> None:
    sunday_night = events("ann", "Open", "2026-03-01T23:30:00Z")
    assert holds('did("Open", weekday() in ["sun"])', sunday_night)
    assert holds('did("Open", weekday() = "mon")', sunday_night, "Europe/Berlin")
    assert holds('did("Open", weekday() not in ["sat", "sun"])', sunday_night, "Europe/Berlin")
    assert holds('weekday("Open") in ["Sun"]', sunday_night)
