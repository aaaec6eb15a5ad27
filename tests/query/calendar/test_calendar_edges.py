"""Days that zones skipped or had twice, and the first and the last days of the calendar."""

from __future__ import annotations

import tracemalloc
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.calendar.local_days import days_of, local_days
from cdp_query.calendar.periods import periods_over
from cdp_query.calendar.windows import moment_span, resolve
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_query.reports.retention_report import retention_rows
from cdp_query.reports.trend_report import TrendCell, TrendPart, trend_rows
from cdp_query.scan.exact_total import ExactTotal
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from tests import oracle_zones
from tests.answered import report_answer
from tests.oracle_zones import DAY_MS
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

ALL_ZONES = sorted(zone for zone in zoneinfo.available_timezones() if zone not in ("localtime", "posixrules"))
APIA, KIRITIMATI, ENDERBURY = "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Enderbury"
KWAJALEIN, MANILA, JUNEAU = "Pacific/Kwajalein", "Asia/Manila", "America/Juneau"
ST_JOHNS, TORONTO = "America/St_Johns", "America/Toronto"
ANN = user("ann")
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def at(iso: str) -> int:
    return (datetime.fromisoformat(iso).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        milliseconds=1
    )


def bought(*instants: str) -> list[Record]:
    return [Event(ANN, "Buy", at(instant)) for instant in instants]


def is_member(text: str, records: list[Record], tz: str = "UTC", as_of: str = "2026-06-01") -> bool:
    shards = Shards()
    shards.apply(records)
    question = parse(text)
    assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
    return ANN in shards.members(question, tree.Context(at(as_of), tz))


def trend_of(text: str, records: list[Record], tz: str, as_of: str = "2026-06-01") -> dict[str, int]:
    shards, context = Shards(), tree.Context(at(as_of), tz)
    shards.apply(records)
    report = parse(text)
    assert isinstance(report, tree.Trend)
    rows = trend_rows(report, shards.ask(report, context).report, context)
    found = {row.label: row.events for row in rows}
    assert len(found) == len(rows), "every period is shown once"
    return found


# ------------------------------------------------------------------------------ every zone against zoneinfo


@st.composite
def _near_changes(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and an instant near one at which its clocks were changed."""
    tz = draw(st.sampled_from((*ALL_ZONES, APIA, KIRITIMATI, ENDERBURY, KWAJALEIN, MANILA, JUNEAU, ST_JOHNS)))
    zone = ZoneInfo(tz)
    start = draw(st.integers(at("1840-01-01"), at("2045-01-01")))
    for day in range(start, start + 400 * DAY_MS, DAY_MS):
        changes = oracle_zones.clock_changes(day, day + DAY_MS, zone) if _changes(day, zone) else []
        if changes:
            return tz, changes[0] + draw(st.integers(-30 * 3_600_000, 30 * 3_600_000) | st.integers(-2, 2))
    return tz, start


def _changes(ts: int, zone: ZoneInfo) -> bool:
    return oracle_zones.offset_ms(ts, zone) != oracle_zones.offset_ms(ts + DAY_MS, zone)


_ENDS = st.tuples(
    st.sampled_from(ALL_ZONES),
    st.integers(TIME_MIN_MS, TIME_MIN_MS + 3 * DAY_MS) | st.integers(TIME_MAX_MS - 3 * DAY_MS, TIME_MAX_MS),
)


@given(_near_changes() | _ENDS)
@settings(max_examples=150)
def test_days_are_those_of_zoneinfo(place: tuple[str, int]) -> None:
    tz, ts = place
    zone, day = ZoneInfo(tz), oracle_zones.local_day(ts, ZoneInfo(tz))
    assert days_of(np.array([ts]), tz).tolist() == [day]
    table = local_days(tz, ts - DAY_MS, ts + DAY_MS)
    starts = [oracle_zones.day_start(table.first_day + i, zone) for i in range(table.starts.shape[0])]
    assert table.starts.tolist() == starts
    assert starts[0] <= ts - DAY_MS and starts[-1] > ts + DAY_MS


@given(_near_changes())
@settings(max_examples=150)
def test_windows_and_literals_follow_the_days_of_zoneinfo(place: tuple[str, int]) -> None:
    tz, ts = place
    zone, context = ZoneInfo(tz), tree.Context(ts, tz)
    day = oracle_zones.local_day(ts, zone)
    for number in range(day - 2, day + 2):
        start, end = (oracle_zones.day_start(number + i, zone) for i in (0, 1))
        moment = tree.Moment(date.fromordinal(number).isoformat())
        span, later = moment_span(moment, context), tree.Context(TIME_MAX_MS, tz)
        assert (span.first_ms, span.last_ms) == (start, end - 1)
        assert resolve(tree.FromTo(moment, moment), later) == span
        assert resolve(tree.Before(moment), later).last_ms == start - 1
        assert resolve(tree.After(moment), later).first_ms == end
    ago = resolve(tree.DaysAgo(1), context)
    assert ago.first_ms == oracle_zones.day_start(day - 1, zone)
    assert ago.last_ms == oracle_zones.day_start(day, zone) - 1
    assert resolve(tree.This("day"), context).first_ms == oracle_zones.day_start(day, zone)
    assert resolve(tree.LastCalendar(tree.Duration(2, "d")), context).first_ms == oracle_zones.day_start(day - 2, zone)


@given(_near_changes() | _ENDS, st.sampled_from(tree.PERIOD_UNITS))
@settings(max_examples=150)
def test_periods_follow_the_days_of_zoneinfo(place: tuple[str, int], unit: str) -> None:
    tz, ts = place
    assume(TIME_MIN_MS + 3 * DAY_MS <= ts <= TIME_MAX_MS - 3 * DAY_MS or unit == "day")
    periods = periods_over(unit, ts - 2 * DAY_MS, ts + 2 * DAY_MS, tz)
    zone = ZoneInfo(tz)
    starts = [oracle_zones.day_start(day + _EPOCH_ORDINAL, zone) for day in periods.first_days.tolist()]
    assert periods.edges_ms[:-1].tolist() == starts
    assert starts[0] <= ts - 2 * DAY_MS <= ts + 2 * DAY_MS < periods.edges_ms[-1]
    held = int(periods.index_of(np.array([ts]))[0])
    assert periods.first_days[held] + _EPOCH_ORDINAL <= oracle_zones.local_day(ts, zone)
    assert periods.edges_ms[held] <= ts < periods.edges_ms[held + 1]


# ------------------------------------------------------------------------------------------------- days that were not


SKIPPED = [
    (APIA, "2011-12-30", "2011-12-30T10:00:00"),
    (KIRITIMATI, "1994-12-31", "1994-12-31T10:00:00"),
    (ENDERBURY, "1994-12-31", "1994-12-31T11:00:00"),
    (KWAJALEIN, "1993-08-21", "1993-08-21T12:00:00"),
    (MANILA, "1844-12-31", "1844-12-31T15:56:08"),
]


@pytest.mark.parametrize(("tz", "day", "change"), SKIPPED)
def test_a_skipped_day_takes_no_event_of_its_neighbours(tz: str, day: str, change: str) -> None:
    before, after = at(change) - 1, at(change)
    records: list[Record] = [Event(ANN, "Buy", before), Event(ANN, "Buy", after), Event(ANN, "Buy", after + 1)]
    skipped = date.fromisoformat(day)
    eve, morrow = ((skipped + timedelta(days=by)).isoformat() for by in (-1, 1))
    as_of = (skipped + timedelta(days=1)).isoformat() + "T06:00:00"
    counts = trend_of(f'trend("Buy", unit: day, from: {eve}, to: {morrow})', records, tz, as_of)
    assert counts == {eve: 1, day: 0, morrow: 2}
    assert trend_of('trend("Buy", unit: day)', records, tz, as_of) == {eve: 1, day: 0, morrow: 2}
    late: list[Record] = [Event(ANN, "Buy", after)]
    assert not is_member(f'did("Buy", from: 1800-01-01, to: {day})', late, tz)
    assert is_member(f'did("Buy", after: {day})', late, tz)
    assert not is_member(f'did("Buy", before: {day})', late, tz)
    assert is_member(f'did("Buy", from: {day}, to: {morrow})', late, tz)
    early: list[Record] = [Event(ANN, "Buy", before)]
    assert is_member(f'did("Buy", from: {eve}, to: {day}) and did("Buy", before: {day})', early, tz)
    assert not is_member(f'did("Buy", after: {day})', early, tz)


@pytest.mark.parametrize(("tz", "day", "change"), SKIPPED)
def test_no_time_lies_on_a_skipped_day(tz: str, day: str, change: str) -> None:
    for instant, is_later in ((at(change) - 1, False), (at(change), True)):
        records: list[Record] = [
            Change(ANN, at("1800-01-01"), {"d": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)})
        ]
        assert not is_member(f"d = {day}", records, tz)
        assert is_member(f"d != {day}", records, tz)
        assert not is_member(f"d in [{day}]", records, tz)
        assert not is_member(f"d between {day} and {day}", records, tz)
        assert is_member(f"d > {day}", records, tz) == is_later
        assert is_member(f"d >= {day}", records, tz) == is_later
        assert is_member(f"d < {day}", records, tz) != is_later
        assert is_member(f"d <= {day}", records, tz) != is_later


def test_a_cohort_of_a_skipped_day_is_empty() -> None:
    records = bought("2011-12-30T09:59:59", "2011-12-31T12:00:00") + [
        Event(user("bob"), "Buy", at("2011-12-30T10:00:00")),
        Event(user("bob"), "Buy", at("2011-12-31T10:00:00")),
    ]
    shards, context = Shards(), tree.Context(at("2012-01-03"), APIA)
    shards.apply(records)
    report = parse('retention("Buy", return: "Buy", unit: day, periods: 3, start: calendar)')
    assert isinstance(report, tree.Retention)
    rows = retention_rows(report, shards.ask(report, context).report, context)
    assert [(row.label, row.users, row.returned) for row in rows] == [
        ("2011-12-29", 1, (0, 0, 0)),  # 1 January is three dates on
        ("2011-12-30", 0, (0, 0, 0)),
        ("2011-12-31", 1, (0, 1, 0)),
        ("2012-01-01", 0, (0, 0, 0)),
        ("2012-01-02", 0, (0, 0, 0)),
        ("2012-01-03", 0, (0, 0, 0)),
    ]


@pytest.mark.parametrize("text", ["from: 2011-12-31, to: 2011-12-30", "from: 2012-01-01, to: 2011-12-30"])
def test_dates_out_of_order_are_an_error_beside_a_skipped_day_too(text: str) -> None:
    with pytest.raises(QueryInvalid, match="ends before it starts"):
        is_member(f'did("Buy", {text})', [], APIA)


def test_a_day_begins_with_its_first_instant_where_clocks_jump_over_midnight() -> None:
    """Clocks in Toronto went from 23:30 on 30 March 1919 to 00:30."""
    change = "1919-03-31T04:30:00"
    counts = trend_of('trend("Buy", unit: day, from: 1919-03-30, to: 1919-03-31)', bought(change), TORONTO)
    assert counts == {"1919-03-30": 0, "1919-03-31": 1}
    assert is_member('did("Buy", from: 1919-03-31, to: 1919-03-31)', bought(change), TORONTO)
    assert not is_member('did("Buy", from: 1919-03-30, to: 1919-03-30)', bought(change), TORONTO)


def test_where_clocks_go_back_over_midnight_the_new_day_goes_on() -> None:
    """At 00:01 on 29 October 2006 clocks in St John's went back to 23:01 of the 28th."""
    records = bought("2006-10-29T02:29:59.999", "2006-10-29T02:30:00", "2006-10-29T03:00:00", "2006-10-29T03:30:00")
    counts = trend_of('trend("Buy", unit: day, from: 2006-10-28, to: 2006-10-29)', records, ST_JOHNS)
    assert counts == {"2006-10-28": 1, "2006-10-29": 3}
    assert is_member('days("Buy") = 2 and streak("Buy") = 2', records, ST_JOHNS)
    second_time = bought("2006-10-29T03:00:00")  # 23:30 on the wall, for the second time that night
    assert is_member('did("Buy", from: 2006-10-29, to: 2006-10-29)', second_time, ST_JOHNS)
    assert is_member('weekday("Buy") in ["sun"] and not weekday("Buy") in ["sat"]', second_time, ST_JOHNS)
    assert is_member('hour("Buy") in 23..24', second_time, ST_JOHNS)


# ---------------------------------------------------------------------------------------------- the calendar's two ends


ENDS = ["0001-01-01", "9999-12-31"]
EDGE_ZONES = ["UTC", "Asia/Tokyo", "America/New_York", KIRITIMATI, "Europe/Berlin"]


@pytest.mark.parametrize("tz", EDGE_ZONES)
def test_far_dates_stand_in_every_comparison(tz: str) -> None:
    holds = {
        "d = 9999-12-31": False,
        "d != 9999-12-31": True,
        "d < 9999-12-31": True,
        "d <= 9999-12-31": True,
        "d > 9999-12-31": False,
        "d >= 9999-12-31": False,
        "d in [0001-01-01, 9999-12-31]": False,
        "d not in [0001-01-01, 9999-12-31]": True,
        "d between 2026-01-01 and 9999-12-31": True,
        "d between 0001-01-01 and 9999-12-31": True,
        "d > 0001-01-01": True,
        "d < 0001-01-01": False,
        "d >= 0001-01-01": True,
        "d <= 0001-01-01": False,
        "was(d >= 0001-01-01, from: 0001-01-01, to: 9999-12-31)": True,
        "was(d < 9999-12-31, after: 0001-01-01)": True,
        "was(d < 9999-12-31, after: 9999-12-31)": False,
        "value_at(d, 0001-01-01) > 0001-01-01": False,
        "value_at(d, 9999-12-31) < 9999-12-31": True,
        "changed(d, to: set, during: 0001-01-01..9999-12-31)": True,
        'did("Buy", until < 9999-12-31)': True,
        'did("Buy", until between 0001-01-01 and 9999-12-31, before: 9999-12-31)': True,
        'did("Buy", after: 9999-12-31)': False,
        'did("Buy", from: 0001-01-01, to: 9999-12-31)': True,
        'did("Buy", before: 0001-01-01)': False,
        'did("Buy", after: 0001-01-01)': True,
        "d older than 1d": False,
        "dates has 9999-12-31": True,
        "dates has_all [0001-01-01, 9999-12-31]": False,
    }
    when = datetime(2026, 5, 1, tzinfo=UTC)
    records: list[Record] = [
        Change(ANN, at("2026-02-01"), {"d": datetime(2027, 1, 1, tzinfo=UTC), "dates": _at_six(9999, 12, 31)}),
        Event(ANN, "Buy", at("2026-03-01"), {"until": when}),
    ]
    assert {text: is_member(text, records, tz) for text in holds} == holds


def _at_six(year: int, month: int, day: int) -> list[object]:
    return [datetime(year, month, day, 6, tzinfo=UTC)]


@pytest.mark.parametrize("tz", EDGE_ZONES)
@pytest.mark.parametrize("end", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999"])
def test_events_and_times_at_the_ends_are_counted_in_every_calendar_form(end: str, tz: str) -> None:
    instant = at(end)
    when = datetime.fromisoformat(end).replace(tzinfo=UTC)
    records: list[Record] = [
        Change(ANN, TIME_MIN_MS, {"x": 1}),
        Event(ANN, "Buy", instant),
        Change(ANN, instant, {"d": when}),
    ]
    as_of = "9999-12-31T23:59:59.999"
    for text in (
        'did("Buy")',
        'days("Buy") = 1',
        'streak("Buy") = 1',
        'weeks("Buy") = 1',
        'regularly("Buy", 1 per day, 1 of last 1) or did("Buy")',
        'weekday("Buy") in ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]',
        'hour("Buy") in 0..24',
        'did("Buy", from: 0001-01-01, to: 9999-12-31) or did("Buy", before: 0001-01-01) or did("Buy", last: 2d)',
        "anniversary(d, 0d..366d)",
        "d within next 7d or d within last 7d or d older than 1y",
    ):
        assert is_member(text, records, tz, as_of), text
    near = "0001-03-01" if end.startswith("0001") else as_of
    for unit in ("week", "month"):
        assert sum(trend_of(f'trend("Buy", unit: {unit})', records, tz, near).values()) == 1
        assert sum(trend_of(f'trend("Buy", unit: {unit}, last: 90d)', records, tz, near).values()) == 1
    assert sum(trend_of('trend("Buy", unit: month)', records, tz, "2026-01-01").values()) == (near != as_of)


@pytest.mark.parametrize("start", list(tree.PeriodStart))
@pytest.mark.parametrize("unit", tree.PERIOD_UNITS)
@pytest.mark.parametrize("tz", EDGE_ZONES)
def test_retentions_and_flows_over_the_first_instant(tz: str, unit: str, start: tree.PeriodStart) -> None:
    records: list[Record] = [Event(ANN, "Buy", TIME_MIN_MS), Event(ANN, "Buy", TIME_MIN_MS + 40 * DAY_MS)]
    shards, context = Shards(), tree.Context(TIME_MIN_MS + 100 * DAY_MS, tz)
    shards.apply(records)
    events = tree.Events(("Buy",))
    report = tree.Retention(events, events, unit, 60, start=start)
    rows = retention_rows(report, shards.ask(report, context).report, context)
    assert [row.users for row in rows if row.users] == [1]
    assert sum(sum(row.returned) for row in rows) == 1
    assert shards.ask(tree.Flow(events, 2), context).count == 1


@pytest.mark.parametrize("tz", EDGE_ZONES)
def test_every_window_form_at_the_first_and_the_last_instant_is_an_interval_or_refused(tz: str) -> None:
    three = tree.Duration(3, "d")
    forms: list[tree.Window] = [
        tree.Last(three), tree.LastCalendar(three), tree.DaysAgo(3), tree.MoreThanAgo(three),
        tree.Ago(tree.Duration(1, "d"), three),
        tree.Last(tree.Duration(1, "mo")), tree.LastCalendar(tree.Duration(1, "y")),
        *(form(unit) for form in (tree.This, tree.Previous) for unit in tree.CALENDAR_UNITS),
    ]  # fmt: skip
    for form in forms:
        late = resolve(form, tree.Context(TIME_MAX_MS, tz))
        assert TIME_MIN_MS <= late.first_ms <= late.last_ms + 1 <= TIME_MAX_MS + 1
        try:
            early = resolve(form, tree.Context(TIME_MIN_MS, tz))
        except QueryInvalid as error:
            assert "calendar" in str(error)
        else:
            assert TIME_MIN_MS <= early.first_ms
            assert early.last_ms <= TIME_MIN_MS


def test_too_many_days_are_refused_without_building_them() -> None:
    records = bought("0001-01-01", "2026-01-01")
    with pytest.raises(QueryInvalid, match=r"739,\d\d\d rows, a day each from 0001-01-01 to 2026-06-01"):
        trend_of('trend("Buy", unit: day)', records, "UTC")
    with pytest.raises(QueryInvalid, match="rows, a day each"):
        shards, context = Shards(), tree.Context(at("2026-06-01"), "UTC")
        shards.apply([*records, Event(user("bob"), "Buy", at("2026-01-01"))])
        report = parse('retention("Buy", return: "Buy", unit: day, periods: 366)')
        assert isinstance(report, tree.Retention)
        retention_rows(report, shards.ask(report, context).report, context)


def test_labels_of_periods_are_dates_that_follow_each_other() -> None:
    counts = trend_of('trend("Buy", unit: month)', bought("0001-01-01", "0001-03-05"), "America/New_York", "0001-04-02")
    assert list(counts) == ["0000-12-01", "0001-01-01", "0001-02-01", "0001-03-01", "0001-04-01"]
    assert [b > a for a, b in pairwise(counts)] == [True] * 4


@pytest.mark.parametrize("tz", EDGE_ZONES)
@pytest.mark.parametrize(
    "text",
    [
        'trend("Buy", unit: month)',
        'trend("Buy", unit: day)',
        'retention("Buy", return: "Buy", unit: week, periods: 2)',
        "diff(everyone, from: 0001-01-01, to: 0001-01-02)",
    ],
)
def test_answers_over_the_first_instant_are_valid_messages(text: str, tz: str) -> None:
    shards, context = Shards(), tree.Context(TIME_MIN_MS + 9 * DAY_MS, tz)
    shards.apply([Event(ANN, "Buy", TIME_MIN_MS)])
    question = parse(text)
    assert '"0001-01-' in MessageToJson(report_answer(question, shards.ask(question, context).report, context))


def test_stray_events_of_all_centuries_take_no_memory_for_each_day_and_user() -> None:
    people = [user(f"u{number}") for number in range(400)]
    shards, context = Shards(), tree.Context(at("2026-06-01"))
    centuries = range(TIME_MIN_MS, at("2026-01-01"), 100 * 365 * DAY_MS)
    for _ in range(3):
        shards.apply([Event(people[n], "Buy", ts, {"v": 0.5}) for n, ts in enumerate(centuries)])
        shards.apply([Event(who, "Buy", at("2026-01-01") + n * 60_000, {"v": 1.5}) for n, who in enumerate(people)])
        shards.seal()
    report = parse('trend("Buy".v, unit: day)')
    tracemalloc.start()
    try:
        part = shards.ask(report, context).report
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 120 << 20
    assert isinstance(part, TrendPart)
    assert part.cells[at("2026-01-01")] == TrendCell(1200, 400, ExactTotal(1200, 0, 1800 << 1074, True))
    assert part.cells[TIME_MIN_MS].users == 1
