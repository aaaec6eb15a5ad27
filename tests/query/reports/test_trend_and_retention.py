"""Trend and retention against the oracle, in every state of the data, and worked examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_query.partial import Partial, merge
from cdp_query.reports.retention_report import retention_rows
from cdp_query.reports.trend_report import trend_rows
from cdp_store.values import to_ms
from tests import oracle_reports, strategies, strategies_reports
from tests.raw_records import Event, Record, anonymous, user
from tests.reported import reported
from tests.shards import Shards
from tests.states import every_state

Asked = TypeVar("Asked", tree.Trend, tree.Retention)
_SIZES = st.sampled_from((1, 3, 13))


def _at(iso: str) -> int:
    return to_ms(datetime.fromisoformat(iso).replace(tzinfo=UTC))


def _several(reports: st.SearchStrategy[Asked]) -> st.SearchStrategy[list[Asked]]:
    """Reports that are asked of the same shards; making these is what takes time."""
    return st.lists(reports, min_size=4, max_size=4)


def _in_every_state(
    records: list[Record], size: int, reports: Sequence[tree.Report], context: tree.Context
) -> Iterator[tuple[str, list[Partial]]]:
    """The parts of the answers, by the state of the data."""
    for state, shards in every_state(records, size):
        views = shards.capture()
        yield state, [shards.ask(report, context, views) for report in reports]


@given(strategies.records(), _SIZES, _several(strategies_reports.trends()), strategies.contexts())
@settings(max_examples=25)
def test_trends_are_the_oracles_in_every_state(
    records: list[Record], size: int, reports: list[tree.Trend], context: tree.Context
) -> None:
    states = _in_every_state(records, size, reports, context)
    _, first = next(states)
    for report, part in zip(reports, first, strict=True):
        expected = oracle_reports.trend(report, records, context)
        event(f"some users: {expected[0] > 0}")
        assert _typed(reported(report, part, context)) == _typed(expected)
    told = [(part.count, part.report or None) for part in first]
    for state, parts in states:
        assert [(part.count, part.report or None) for part in parts] == told, state


def _typed(value: object) -> str:
    """A form in which 1 and 1.0 differ."""
    return repr(value)


@given(strategies.records(), _SIZES, _several(strategies_reports.retentions()), strategies.contexts())
@settings(max_examples=30)
def test_retentions_are_the_oracles_in_every_state(
    records: list[Record], size: int, reports: list[tree.Retention], context: tree.Context
) -> None:
    states = _in_every_state(records, size, reports, context)
    _, first = next(states)
    for report, part in zip(reports, first, strict=True):
        expected = oracle_reports.retention(report, records, context)
        event(f"some returned: {any(any(row.returned) for row in expected[1])}")
        assert reported(report, part, context) == expected
    told = [(part.count, part.report) for part in first]
    for state, parts in states:
        assert [(part.count, part.report) for part in parts] == told, state


@given(strategies.records(30), strategies_reports.reports(), strategies.contexts())
@settings(max_examples=60)
def test_parts_merge_in_any_order(records: list[Record], report: tree.Report, context: tree.Context) -> None:
    shards = Shards(3)
    shards.apply(records)
    a, b, c = (shards.ask(report, context, [view]) for view in shards.capture())
    whole = merge(merge(a, b), c).report
    assert merge(c, merge(b, a)).report == whole
    assert merge(Partial(), whole and replace(a, report=whole) or a).report == (whole or a.report)
    alone = Shards()
    alone.apply(records)
    assert alone.ask(report, context).report == whole


# ------------------------------------------------------------------------------------------------------ worked examples


def _ask(text: str, records: list[Record], as_of: str, tz: str = "UTC") -> tuple[tree.Question, Partial, tree.Context]:
    shards, context = Shards(2), tree.Context(_at(as_of), tz)
    shards.apply(records)
    question = parse(text)
    return question, shards.ask(question, context), context


def _cohorts(text: str, records: list[Record], as_of: str, tz: str = "UTC") -> dict[str, tuple[int, ...]]:
    question, partial, context = _ask(text, records, as_of, tz)
    assert isinstance(question, tree.Retention)
    rows = retention_rows(question, partial.report, context)
    return {row.label: (row.users, *row.returned, row.complete) for row in rows if row.users}


ANN, BOB, CYD = user("ann"), user("bob"), user("cyd")
# Signed up on Monday 5 January at 22:00; back after 3 hours (the next calendar day) and after 49 hours.
_LATE_SIGN_UP = [
    Event(ANN, "Signup", _at("2026-01-05T22:00")),
    Event(ANN, "Open", _at("2026-01-06T01:00")),
    Event(ANN, "Open", _at("2026-01-07T23:00")),
]


def test_rolling_days_count_24_hours_from_each_users_own_entry() -> None:
    text = 'retention("Signup", return: "Open", unit: day, periods: 4)'
    assert _cohorts(text, _LATE_SIGN_UP, "2026-01-08T12:00") == {"2026-01-05": (1, 1, 0, 1, 0, 2)}


def test_calendar_days_count_midnights_between_entry_and_return() -> None:
    text = 'retention("Signup", return: "Open", unit: day, periods: 4, start: calendar)'
    assert _cohorts(text, _LATE_SIGN_UP, "2026-01-08T12:00") == {"2026-01-05": (1, 0, 1, 1, 0, 3)}


def test_on_or_after_counts_a_return_for_all_periods_before_it_too() -> None:
    text = 'retention("Signup", return: "Open", unit: day, periods: 4, mode: on_or_after)'
    assert _cohorts(text, _LATE_SIGN_UP, "2026-01-08T12:00") == {"2026-01-05": (1, 1, 1, 1, 0, 2)}
    beyond = [*_LATE_SIGN_UP, Event(ANN, "Open", _at("2026-01-20"))]
    assert _cohorts(text, beyond, "2026-02-01") == {"2026-01-05": (1, 1, 1, 1, 1, 4)}


def test_weekly_cohorts_start_on_mondays() -> None:
    records = [
        Event(ANN, "Signup", _at("2026-01-04T23:59")),  # a Sunday
        Event(ANN, "Open", _at("2026-01-11T23:59")),  # exactly a week later: the second week
        Event(BOB, "Signup", _at("2026-01-05T00:00")),  # a Monday
        Event(BOB, "Open", _at("2026-01-11T23:59:59.999")),  # the last instant of the first week
        Event(CYD, "Open", _at("2026-01-06T00:00")),
    ]
    text = 'retention("Signup", return: "Open", unit: week, periods: 2)'
    assert _cohorts(text, records, "2026-02-01") == {"2025-12-29": (1, 0, 1, 2), "2026-01-05": (1, 1, 0, 2)}


def test_rolling_months_end_on_the_day_of_the_month_or_the_last_there_is() -> None:
    records = [
        Event(ANN, "Signup", _at("2026-01-31T10:00")),
        Event(ANN, "Open", _at("2026-02-28T09:59:59.999")),
        Event(BOB, "Signup", _at("2026-01-31T10:00")),
        Event(BOB, "Open", _at("2026-02-28T10:00")),
    ]
    text = 'retention("Signup", return: "Open", unit: month, periods: 2)'
    assert _cohorts(text, records, "2026-04-01") == {"2026-01-01": (2, 1, 1, 2)}


def test_the_entry_itself_is_no_return_but_another_event_at_its_instant_is() -> None:
    once = [Event(ANN, "Open", _at("2026-01-05"))]
    text = 'retention("Open", return: "Open", unit: day, periods: 1)'
    assert _cohorts(text, once, "2026-02-01") == {"2026-01-05": (1, 0, 1)}
    assert _cohorts(text, once * 2, "2026-02-01") == {"2026-01-05": (1, 1, 1)}


def _trend(
    text: str, records: list[Record], as_of: str, tz: str = "UTC"
) -> dict[str, tuple[int, int, int | float, bool]]:
    question, partial, context = _ask(text, records, as_of, tz)
    assert isinstance(question, tree.Trend)
    return {
        row.label: (row.events, row.users, 0 if row.sum is None else row.sum, row.incomplete)
        for row in trend_rows(question, partial.report, context)
    }


def test_a_trend_has_every_day_of_its_window_and_counts_users_once_a_day() -> None:
    records = [
        Event(ANN, "Buy", _at("2026-01-05T08:00"), {"amount": 2}),
        Event(ANN, "Buy", _at("2026-01-05T20:00"), {"amount": 0.5}),
        Event(BOB, "Buy", _at("2026-01-05T09:00"), {"amount": "much"}),
        Event(ANN, "Buy", _at("2026-01-07T00:00"), {"amount": 3}),
    ]
    assert _trend('trend("Buy".amount, unit: day, last_calendar: 3d)', records, "2026-01-07T12:00") == {
        "2026-01-04": (0, 0, 0, False),
        "2026-01-05": (3, 2, 2.5, False),
        "2026-01-06": (0, 0, 0, False),
        "2026-01-07": (1, 1, 3, True),
    }


def test_a_day_of_23_hours_takes_what_happened_on_it() -> None:
    records = [
        Event(ANN, "Buy", _at("2026-03-28T22:59:59.999")),  # Berlin: still the 28th
        Event(ANN, "Buy", _at("2026-03-28T23:00")),  # the 29th begins, clocks go forward at 02:00
        Event(BOB, "Buy", _at("2026-03-29T21:59:59.999")),  # its last instant
        Event(ANN, "Buy", _at("2026-03-29T22:00")),
    ]
    days = _trend('trend("Buy", unit: day, last_calendar: 2d)', records, "2026-03-30T12:00", "Europe/Berlin")
    assert days == {"2026-03-28": (1, 1, 0, False), "2026-03-29": (2, 2, 0, False), "2026-03-30": (1, 1, 0, True)}


def test_a_week_that_the_window_cuts_is_incomplete() -> None:
    records = [Event(ANN, "Buy", _at("2026-01-01")), Event(anonymous("x"), "Buy", _at("2026-01-06"))]
    weeks = _trend('trend("Buy", unit: week, from: 2026-01-01, to: 2026-01-11)', records, "2026-02-01")
    assert weeks == {"2025-12-29": (1, 1, 0, True), "2026-01-05": (1, 1, 0, False)}


def test_too_many_periods_are_refused_with_the_way_out() -> None:
    records = [Event(ANN, "Buy", _at("1850-01-01")), Event(ANN, "Buy", _at("2026-01-01"))]
    with pytest.raises(QueryInvalid, match="give a window such as last: 90d, or a longer unit"):
        _trend('trend("Buy", unit: day)', records, "2026-02-01")
    assert len(_trend('trend("Buy", unit: week)', records, "2026-02-01")) == 9188


def test_a_user_counts_once_in_a_month_that_many_chunks_hold() -> None:
    shards = Shards()
    for day in range(1, 29):
        shards.apply([Event(ANN, name, _at(f"2026-02-{day:02}")) for name in ("View", "Buy")])
        if day % 7 == 0:
            shards.seal()
    context = tree.Context(_at("2026-03-01"))
    report = parse('trend(["View", "Buy"], unit: month)')
    assert isinstance(report, tree.Trend)
    rows = trend_rows(report, shards.ask(report, context).report, context)
    assert [(row.label, row.events, row.users) for row in rows] == [
        ("2026-02-01", 56, 1),
        ("2026-03-01", 0, 0),
    ]


def test_a_cohort_of_a_skipped_day_is_complete_as_long_as_the_calendar_says() -> None:
    """Samoa had no 30 December 2011: nobody can enter then, and the row counts its own periods like its neighbours."""
    records: list[Record] = [Event(user("a"), "A", _at("2011-12-28T12:00"))]
    context = tree.Context(_at("2012-01-03T12:00"), "Pacific/Apia")
    report = parse('retention("A", return: "B", unit: day, periods: 9, start: calendar, last: 7d)')
    assert isinstance(report, tree.Retention)
    shards = Shards()
    shards.apply(records)
    told = reported(report, shards.ask(report, context), context)
    assert told == oracle_reports.retention(report, records, context)
