"""Every window form and time literal, worked out by hand against calendars."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.calendar.windows import Interval, fixed_ms, moment_span, resolve
from cdp_query.errors import QueryInvalid
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from tests import strategies
from tests.oracle_windows import in_window, span_of_moment

BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def ms(iso: str) -> int:
    """Epoch milliseconds of an instant written with its offset."""
    written = datetime.fromisoformat(iso)
    assert written.tzinfo is not None
    return round((written - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def days(amount: int) -> tree.Duration:
    return tree.Duration(amount, "d")


def months(amount: int) -> tree.Duration:
    return tree.Duration(amount, "mo")


def bounds(window: tree.Window, as_of: str, tz: str = "UTC") -> Interval:
    return resolve(window, tree.Context(ms(as_of), tz))


NOW = "2026-01-21T12:00:00Z"  # a Wednesday


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        (tree.Always(), None, NOW),
        (
            tree.FromTo(tree.Moment("2026-01-01"), tree.Moment("2026-01-10")),
            "2026-01-01T00:00:00Z",
            "2026-01-10T23:59:59.999Z",
        ),
        (
            tree.FromTo(tree.Moment("2026-01-10"), tree.Moment("2026-01-10")),
            "2026-01-10T00:00:00Z",
            "2026-01-10T23:59:59.999Z",
        ),
        (
            tree.FromTo(tree.Moment("2026-01-01T10:00:00Z"), tree.Moment("2026-01-01T11:00:00Z")),
            "2026-01-01T10:00:00Z",
            "2026-01-01T10:59:59.999Z",
        ),
        (
            tree.FromTo(tree.Moment("2026-01-01"), tree.Moment("2026-01-02T00:00")),
            "2026-01-01T00:00:00Z",
            "2026-01-01T23:59:59.999Z",
        ),
        (
            tree.FromTo(tree.Moment("2026-01-01T06:00"), tree.Moment("2026-01-02")),
            "2026-01-01T06:00:00Z",
            "2026-01-02T23:59:59.999Z",
        ),
        (tree.FromTo(tree.Moment("2026-01-01"), tree.Moment("2026-12-31")), "2026-01-01T00:00:00Z", NOW),
        (tree.Before(tree.Moment("2026-01-10")), None, "2026-01-09T23:59:59.999Z"),
        (tree.Before(tree.Moment("2026-01-10T08:00:00Z")), None, "2026-01-10T07:59:59.999Z"),
        (tree.After(tree.Moment("2026-01-10")), "2026-01-11T00:00:00Z", NOW),
        (tree.After(tree.Moment("2026-01-10T08:00:00Z")), "2026-01-10T08:00:00.001Z", NOW),
        (tree.Last(days(30)), "2025-12-22T12:00:00.001Z", NOW),
        (tree.Last(tree.Duration(90, "m")), "2026-01-21T10:30:00.001Z", NOW),
        (tree.Last(tree.Duration(2, "w")), "2026-01-07T12:00:00.001Z", NOW),
        (tree.Last(months(1)), "2025-12-21T12:00:00.001Z", NOW),
        (tree.Last(tree.Duration(1, "y")), "2025-01-21T12:00:00.001Z", NOW),
        (tree.LastCalendar(days(7)), "2026-01-14T00:00:00Z", NOW),
        (tree.LastCalendar(tree.Duration(1, "w")), "2026-01-12T00:00:00Z", NOW),
        (tree.LastCalendar(months(2)), "2025-11-01T00:00:00Z", NOW),
        (tree.LastCalendar(tree.Duration(1, "y")), "2025-01-01T00:00:00Z", NOW),
        (tree.DaysAgo(0), "2026-01-21T00:00:00Z", NOW),
        (tree.DaysAgo(3), "2026-01-18T00:00:00Z", "2026-01-18T23:59:59.999Z"),
        (tree.Ago(days(30), days(60)), "2025-11-22T12:00:00.001Z", "2025-12-22T12:00:00Z"),
        (tree.MoreThanAgo(days(30)), None, "2025-12-22T12:00:00Z"),
        (tree.This("day"), "2026-01-21T00:00:00Z", NOW),
        (tree.This("week"), "2026-01-19T00:00:00Z", NOW),
        (tree.This("month"), "2026-01-01T00:00:00Z", NOW),
        (tree.This("year"), "2026-01-01T00:00:00Z", NOW),
        (tree.Previous("day"), "2026-01-20T00:00:00Z", "2026-01-20T23:59:59.999Z"),
        (tree.Previous("week"), "2026-01-12T00:00:00Z", "2026-01-18T23:59:59.999Z"),
        (tree.Previous("month"), "2025-12-01T00:00:00Z", "2025-12-31T23:59:59.999Z"),
        (tree.Previous("year"), "2025-01-01T00:00:00Z", "2025-12-31T23:59:59.999Z"),
    ],
    ids=str,
)
def test_window_in_utc(window: tree.Window, first: str | None, last: str) -> None:
    assert bounds(window, NOW) == Interval(TIME_MIN_MS if first is None else ms(first), ms(last))


@pytest.mark.parametrize(
    ("tz", "day", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-06-01", 24),
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-11-01", 25),
        (KOLKATA, "2026-03-29", 24),
        ("Asia/Beirut", "2026-03-29", 23),  # the clock skips midnight itself: the day starts at 01:00
        ("Australia/Lord_Howe", "2026-04-05", 24.5),  # half an hour of daylight saving
    ],
)
def test_a_day_runs_from_local_midnight_to_the_next(tz: str, day: str, hours: float) -> None:
    moment = tree.Moment(day)
    interval = bounds(tree.FromTo(moment, moment), "2027-01-01T00:00:00Z", tz)
    assert interval.last_ms - interval.first_ms + 1 == hours * HOUR_MS
    assert interval == moment_span(moment, tree.Context(0, tz))


@pytest.mark.parametrize(
    ("window", "as_of", "tz", "first", "last"),
    [
        # Two in the night is skipped in Berlin on 29 March 2026: midnight is at +01:00, the next one at +02:00.
        (
            tree.DaysAgo(0),
            "2026-03-29T20:00:00+02:00",
            BERLIN,
            "2026-03-29T00:00:00+01:00",
            "2026-03-29T20:00:00+02:00",
        ),
        (
            tree.DaysAgo(1),
            "2026-03-30T09:00:00+02:00",
            BERLIN,
            "2026-03-29T00:00:00+01:00",
            "2026-03-29T23:59:59.999+02:00",
        ),
        (
            tree.LastCalendar(days(1)),
            "2026-10-26T09:00:00+01:00",
            BERLIN,
            "2026-10-25T00:00:00+02:00",
            "2026-10-26T09:00:00+01:00",
        ),
        # Rolling days are elapsed time, not the same hour of the clock.
        (
            tree.Last(days(1)),
            "2026-03-29T12:00:00+02:00",
            BERLIN,
            "2026-03-28T11:00:00.001+01:00",
            "2026-03-29T12:00:00+02:00",
        ),
        # Months keep the hour of the clock.
        (
            tree.Last(months(1)),
            "2026-04-15T12:00:00+02:00",
            BERLIN,
            "2026-03-15T12:00:00.001+01:00",
            "2026-04-15T12:00:00+02:00",
        ),
        (
            tree.Last(tree.Duration(1, "y")),
            "2026-03-29T12:00:00+02:00",
            BERLIN,
            "2025-03-29T12:00:00.001+01:00",
            "2026-03-29T12:00:00+02:00",
        ),
        (
            tree.Previous("month"),
            "2026-04-02T00:30:00+02:00",
            BERLIN,
            "2026-03-01T00:00:00+01:00",
            "2026-03-31T23:59:59.999+02:00",
        ),
        (tree.This("month"), "2026-03-31T23:30:00Z", BERLIN, "2026-04-01T00:00:00+02:00", "2026-04-01T01:30:00+02:00"),
        (tree.This("year"), "2026-01-01T03:00:00Z", NEW_YORK, "2025-01-01T00:00:00-05:00", "2025-12-31T22:00:00-05:00"),
        (
            tree.Previous("week"),
            "2026-03-10T12:00:00-04:00",
            NEW_YORK,
            "2026-03-02T00:00:00-05:00",
            "2026-03-08T23:59:59.999-04:00",
        ),
        (tree.DaysAgo(0), "2026-01-21T20:00:00Z", KOLKATA, "2026-01-22T00:00:00+05:30", "2026-01-22T01:30:00+05:30"),
        (
            tree.Before(tree.Moment("2026-03-08")),
            "2026-06-01T00:00:00Z",
            NEW_YORK,
            None,
            "2026-03-07T23:59:59.999-05:00",
        ),
        (
            tree.After(tree.Moment("2026-03-08")),
            "2026-06-01T00:00:00Z",
            NEW_YORK,
            "2026-03-09T00:00:00-04:00",
            "2026-06-01T00:00:00Z",
        ),
        # A local time without an offset is meant in the zone of the question; one with an offset is not.
        (tree.After(tree.Moment("2026-01-10T08:00")), NOW, KOLKATA, "2026-01-10T08:00:00.001+05:30", NOW),
        (tree.After(tree.Moment("2026-01-10T08:00:00-08:00")), NOW, KOLKATA, "2026-01-10T16:00:00.001Z", NOW),
    ],
    ids=str,
)
def test_window_in_a_zone(window: tree.Window, as_of: str, tz: str, first: str | None, last: str) -> None:
    assert bounds(window, as_of, tz) == Interval(TIME_MIN_MS if first is None else ms(first), ms(last))


@pytest.mark.parametrize(
    ("as_of", "duration", "first"),
    [
        ("2026-03-31T12:00:00Z", months(1), "2026-02-28T12:00:00.001Z"),
        ("2024-03-31T12:00:00Z", months(1), "2024-02-29T12:00:00.001Z"),
        ("2026-05-31T12:00:00Z", months(1), "2026-04-30T12:00:00.001Z"),
        ("2026-05-31T12:00:00Z", months(3), "2026-02-28T12:00:00.001Z"),
        ("2024-02-29T12:00:00Z", tree.Duration(1, "y"), "2023-02-28T12:00:00.001Z"),
        ("2024-02-29T12:00:00Z", tree.Duration(4, "y"), "2020-02-29T12:00:00.001Z"),
        ("2026-01-31T12:00:00Z", months(13), "2024-12-31T12:00:00.001Z"),
    ],
    ids=str,
)
def test_months_and_years_clamp_to_the_end_of_the_month(as_of: str, duration: tree.Duration, first: str) -> None:
    assert bounds(tree.Last(duration), as_of).first_ms == ms(first)


@pytest.mark.parametrize(
    ("as_of", "monday"),
    [
        ("2026-01-01T12:00:00Z", "2025-12-29T00:00:00Z"),  # week 1 of 2026 starts in 2025
        ("2026-01-04T23:59:59.999Z", "2025-12-29T00:00:00Z"),  # a Sunday belongs to the week before it
        ("2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("2027-01-03T12:00:00Z", "2026-12-28T00:00:00Z"),  # 2026 has 53 weeks
    ],
)
def test_weeks_are_iso_weeks(as_of: str, monday: str) -> None:
    assert bounds(tree.This("week"), as_of).first_ms == ms(monday)
    assert bounds(tree.Previous("week"), as_of) == Interval(ms(monday) - 7 * DAY_MS, ms(monday) - 1)


@pytest.mark.parametrize(
    "window",
    [
        tree.FromTo(tree.Moment("2026-01-02"), tree.Moment("2026-01-01")),
        tree.FromTo(tree.Moment("2026-01-01T10:00:01Z"), tree.Moment("2026-01-01T10:00:00Z")),
        tree.FromTo(tree.Moment("2026-01-01T10:00:00Z"), tree.Moment("2026-01-01T10:00:00+01:00")),
        tree.Ago(days(60), days(30)),
        tree.Ago(months(2), days(30)),
    ],
    ids=str,
)
def test_a_window_that_ends_before_it_starts_is_an_error(window: tree.Window) -> None:
    with pytest.raises(QueryInvalid):
        bounds(window, NOW)


def test_ends_are_compared_as_instants_and_not_as_wall_clock_times() -> None:
    """02:30 does not exist in Berlin that night and stands for 03:30, so the window would end before it starts."""
    window = tree.FromTo(tree.Moment("2026-03-29T02:30"), tree.Moment("2026-03-29T03:10"))
    with pytest.raises(QueryInvalid, match="ends before it starts"):
        bounds(window, "2026-06-01T00:00:00Z", BERLIN)


def test_an_instant_to_itself_is_an_empty_window() -> None:
    moment = tree.Moment("2026-01-01T10:00:00Z")
    interval = bounds(tree.FromTo(moment, moment), NOW)
    assert interval.last_ms < interval.first_ms


@pytest.mark.parametrize(
    "window",
    [
        tree.Before(tree.Moment("2026-02-30")),
        tree.Before(tree.Moment("2026-13-01")),
        tree.After(tree.Moment("2026-01-01T25:00")),
        tree.Last(tree.Duration(10_000, "y")),
        tree.Last(tree.Duration(10**6, "mo")),
        tree.Last(tree.Duration(10**18, "d")),
        tree.DaysAgo(10**7),
        tree.DaysAgo(10**18),
        tree.LastCalendar(tree.Duration(10**12, "w")),
        tree.LastCalendar(tree.Duration(3, "h")),
    ],
    ids=str,
)
@pytest.mark.parametrize("tz", ["UTC", BERLIN, NEW_YORK])
def test_times_beyond_the_calendar_are_errors_of_the_question(window: tree.Window, tz: str) -> None:
    with pytest.raises(QueryInvalid):
        bounds(window, NOW, tz)


@pytest.mark.parametrize("tz", ["UTC", BERLIN, NEW_YORK, "Pacific/Kiritimati"])
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_ends_of_the_calendar_either_resolve_or_are_errors_of_the_question(day: str, tz: str) -> None:
    moment, context = tree.Moment(day), tree.Context(ms(NOW), tz)
    forms = [
        lambda: resolve(tree.Before(moment), context),
        lambda: resolve(tree.After(moment), context),
        lambda: resolve(tree.FromTo(moment, moment), context),
        lambda: moment_span(moment, context),
    ]
    for form in forms:
        try:
            interval = form()
        except QueryInvalid:
            continue
        assert TIME_MIN_MS - DAY_MS <= interval.first_ms
        assert interval.last_ms <= TIME_MAX_MS + DAY_MS


@pytest.mark.parametrize("tz", ["Mars/Olympus", "", "../etc/passwd", "Europe/", "/etc/localtime", "a\0b"])
def test_an_unknown_zone_is_an_error_that_says_so(tz: str) -> None:
    with pytest.raises(QueryInvalid, match="time zone"):
        bounds(tree.Always(), NOW, tz)


@pytest.mark.parametrize("unit", ["mo", "y"])
def test_calendar_units_have_no_fixed_length(unit: str) -> None:
    with pytest.raises(QueryInvalid, match="no fixed length"):
        fixed_ms(tree.Duration(1, unit))


@given(strategies.windows(), strategies.contexts(), strategies.moments())
@settings(max_examples=300)
def test_windows_hold_what_the_oracle_says(window: tree.Window, context: tree.Context, ts: int) -> None:
    interval = resolve(window, context)
    near = (ts, context.as_of_ms, interval.first_ms - 1, interval.first_ms, interval.last_ms, interval.last_ms + 1)
    for instant in near:
        assert interval.overlaps(instant, instant) == in_window(window, instant, context) or instant < TIME_MIN_MS


@given(st.sampled_from(strategies.MOMENTS), strategies.contexts())
@settings(max_examples=100)
def test_time_literals_stand_for_what_the_oracle_says(moment: tree.Moment, context: tree.Context) -> None:
    span, expected = moment_span(moment, context), span_of_moment(moment, context)
    for instant in (span.first_ms - 1, span.first_ms, span.last_ms, span.last_ms + 1):
        assert span.overlaps(instant, instant) == expected.holds(instant)
