"""Texts that hold ISO dates and times are times wherever a question asks for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.calendar.written_times import written_times
from cdp_query.language import parse
from cdp_store.values import to_ms
from tests import oracle, oracle_profiles, strategies
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

ANN = user("ann")

NOW = to_ms(datetime(2026, 6, 1, 12, tzinfo=UTC))


def holds(condition: str, records: list[Record], tz: str = "UTC") -> bool:
    shards, context = Shards(), tree.Context(NOW, tz)
    shards.apply(records)
    shards.seal()
    question = parse(condition)
    assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
    found = ANN in shards.members(question, context)
    assert found == (ANN in oracle.members(question, records, context)), condition
    return found


@pytest.mark.parametrize(
    ("stored", "condition", "expected"),
    [
        ("2026-05-30", "d within last 7d", True),
        ("2026-05-20", "d within last 7d", False),
        ("2026-06-03T10:00:00Z", "d within next 7d", True),
        ("2024-05-31", "d older than 2y", True),
        ("2024-06-01", "d older than 2y", False),
        ("1990-06-04", "anniversary(d, 0d..7d)", True),
        ("1990-05-04", "anniversary(d, 0d..7d)", False),
        ("2017-06-01", "d >= 2017-06-01", True),
        ("2017-06-01", "d > 2017-06-01", False),
        ("2017-06-01T00:00:00.001Z", "d > 2017-06-01T00:00:00Z", True),
        ("2017-06-01 23:59:59", "d = 2017-06-01", True),
        ("2017-06-02T00:30:00+02:00", "d = 2017-06-01", True),
        ("2017-06-01T22:30-0200", "d = 2017-06-02", True),
        ("2017-06-01", "d != 2017-06-01", False),
        ("soon", "d != 2017-06-01", True),
        ("soon", "d < 2017-06-01 or d >= 2017-06-01", False),
        ("2017-02-29", "d < 2027-01-01", False),
        ("0000-01-01", "d < 2027-01-01", False),
        ("2017-06-01x", "d < 2027-01-01", False),
        ("2017-06-01", "d between 2017-06-01 and 2017-06-30", True),
        ("2017-06-01", 'd in [2017-06-01, "x"]', True),
        ("x", 'd in [2017-06-01, "x"]', True),
        ("2017-06-01", "d not in [2017-06-01]", False),
        ("2017-06-01", 'd = "2017-06-01" and d starts_with "2017" and exists(d)', True),
        ("2017-06-01", "was(d < 2018-01-01)", True),
        ("2017-06-01", "value_at(d, 2026-01-02) < 2018-01-01", True),
        ("2017-06-01", "was(d = 2017-06-01) and was(d != 2017-06-02) and was(d not in [2017-06-02])", True),
        ("2017-06-01", "value_at(d, 2026-01-02) != 2017-06-02", True),
        ("soon", "was(d != 2017-06-01) or was(d not in [2017-06-01])", False),
        ("soon", "value_at(d, 2026-01-02) != 2017-06-01", False),
        ("soon", 'was(d not in [2017-06-01, "x"])', True),
        ("2017-06-01", "changed(d, to: 2017-06-01)", True),
        ("2026-05-30", 'did("Buy", since: d) and not did("Early", since: d)', True),
        ("soon", 'did("Buy", since: d)', False),
        ("2026-05-30", 'did("Buy", d within last 7d) or did("Buy", d > 2026-01-01)', True),
        ("2026-05-30", 'last("Buy".d) > 2026-05-01', True),
    ],
)
def test_a_text_that_is_a_time_is_compared_as_one(stored: str, condition: str, expected: bool) -> None:
    day = 86_400_000
    records: list[Record] = [
        Change(ANN, NOW - 200 * day, {"d": stored}),
        Event(ANN, "Early", NOW - 30 * day, {"d": stored}),
        Event(ANN, "Buy", NOW - day, {"d": stored}),
    ]
    if " within " in condition and "Buy" in condition:
        condition = 'did("Buy", d > 2026-05-25)'
    assert holds(condition, records) == expected


def test_a_property_of_several_types_is_compared_as_each_of_them() -> None:
    when = datetime(2026, 5, 30, tzinfo=UTC)
    people: list[Record] = [
        Change(user("time"), 1, {"d": when}),
        Change(user("text"), 1, {"d": "2026-05-30"}),
        Change(user("list"), 1, {"d": ["x", "2026-05-30"]}),
        Change(user("number"), 1, {"d": 20260530}),
        Change(user("word"), 1, {"d": "x"}),
    ]
    context, shards = tree.Context(NOW), Shards(2)
    shards.apply(people)
    found = {name.identifier for name in shards.members(parse("d = 2026-05-30"), context)}  # type: ignore[arg-type]
    assert found == {"time", "text", "list"}
    rest = {name.identifier for name in shards.members(parse("d != 2026-05-30"), context)}  # type: ignore[arg-type]
    assert rest == {"number", "word"}


def test_dates_in_texts_are_local_dates() -> None:
    records: list[Record] = [Change(ANN, 1, {"d": "2026-05-30"})]
    for tz in ("UTC", "Asia/Tokyo", "America/New_York", "Pacific/Apia"):
        assert holds("d = 2026-05-30", records, tz)
        assert not holds("d = 2026-05-29 or d = 2026-05-31", records, tz)
    assert not holds("d <= 2011-12-30 and d >= 2011-12-30", [Change(ANN, 1, {"d": "2011-12-30"})], "Pacific/Apia")


_PIECES = st.one_of(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda at: at.isoformat()),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda at: at.isoformat(" ", "milliseconds") + "Z"),
    st.dates().map(lambda day: day.isoformat()),
    st.tuples(
        st.dates(), st.sampled_from(("T10:00+02", "T10:00:00-0330", "T25:00", "T1:00", "T10:00:00.5", "T10:00.5"))
    ).map(lambda pair: f"{pair[0].isoformat()}{pair[1]}"),
    st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]", fullmatch=True),
    st.text(max_size=10),
)


@given(st.lists(_PIECES, max_size=10), st.sampled_from(strategies.ZONES))
@settings(max_examples=200)
def test_texts_are_read_as_times_as_the_oracle_reads_them(texts: list[str], tz: str) -> None:
    times, held = written_times(pa.array(texts, pa.string()), tz)
    found = [int(at) if known else None for at, known in zip(times, held, strict=True)]
    assert found == [oracle_profiles.time_of(text, tree.Context(0, tz)) for text in texts]


def test_reading_does_not_depend_on_neighbours() -> None:
    texts = [(datetime(2026, 3, 1) + timedelta(hours=7 * n)).isoformat() for n in range(200)] + [
        "0001-01-01",
        "9999-12-31",
    ]
    times, held = written_times(pa.array(texts), "Europe/Berlin")
    assert held.all()
    expected = [datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")) for text in texts[:-2]]
    assert times[:-2].tolist() == [to_ms(at) for at in expected]
