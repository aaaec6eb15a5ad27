"""Reports by kernels over all partitions at once, against the oracle, and in one partition against several."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.compiled.descriptors import chunk_table
from cdp_query.errors import QueryTooLarge
from cdp_query.reports.funnel_report import FunnelPart
from cdp_query.reports.retention_report import RetentionPart
from cdp_query.stats import REPORT
from cdp_store.limits import DAY_MS, MORSEL_ROWS
from tests import strategies
from tests.raw_records import Event, Record, user
from tests.reported import Asked, by_oracle, reported
from tests.shards import Shards
from tests.states import every_state
from tests.strategies_reports import retentions, trends


def answer(report: tree.Question, shards: Shards, context: tree.Context) -> tuple[int, object]:
    """What partitions report, all at once."""
    assert isinstance(report, Asked)
    return reported(report, pipeline.evaluate_all(report, shards.capture(), Binder(context)), context)


@st.composite
def apart(draw: st.DrawFn) -> tree.Funnel:
    """A funnel whose steps share no event name."""
    funnel = draw(strategies.funnels())
    names = draw(st.permutations(strategies.EVENT_NAMES))
    steps = (tree.Events((name,), step.where) for name, step in zip(names, funnel.steps, strict=False))
    return replace(funnel, steps=tuple(steps))


def reports() -> st.SearchStrategy[Asked]:
    """Plain funnels, trends and retentions."""
    plain = trends().map(lambda trend: replace(trend, property=None))
    return st.one_of(apart(), apart(), strategies.funnels(), plain, trends(), retentions())


@given(
    strategies.records(),
    st.sampled_from((1, 3)),
    st.lists(reports(), min_size=8, max_size=8),
    strategies.contexts(),
)
@settings(max_examples=40)
def test_reports_are_the_oracles(records: list[Record], size: int, asked: list[Asked], context: tree.Context) -> None:
    wanted = [by_oracle(report, records, context) for report in asked]
    for state, shards in every_state(records, size):
        for report, told in zip(asked, wanted, strict=True):
            event(f"{type(report).__name__} about anyone: {told[0] > 0}")
            assert answer(report, shards, context) == told, (state, report)


@pytest.mark.parametrize(("tie", "steps"), [("strict", (6, 1)), ("ordered", (6, 2))])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_ties_are_told_apart_from_events_that_come_later(tie: str, steps: tuple[int, int], is_sealed: bool) -> None:
    """A later event of the second step that is out of time shows whether an earlier one was taken.

    The last attempts take as long as they may, and a millisecond more.
    """
    shards, records, late, week = Shards(), list[Record](), 8 * DAY_MS, 7 * DAY_MS
    pairs = (5000, 5000), (5001, 5000), (9000, 5000), (5000, late), (5000, 5000 + week), (5000, 5001 + week)
    for number, (first, second) in enumerate(pairs):
        who = user(f"u{number}")
        records += [Event(who, "A", first, {}), Event(who, "B", second, {}), Event(who, "B", 2 * late, {})]
    shards.apply(records)
    if is_sealed:
        shards.seal()
    context = tree.Context(30 * DAY_MS)
    report = pipeline.prepare(f'funnel("A" -> "B", within: 7d, tie: {tie})', None, context)
    assert isinstance(report, tree.Funnel)
    assert answer(report, shards, context) == by_oracle(report, records, context)
    assert pipeline.evaluate_all(report, shards.capture(), Binder(context)).steps == steps


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ("B", (3, 1)),  # at the instant of the entry, a millisecond later, and in the last one of the first day
        ("A", (2, 0)),  # another event at the instant of the entry, and a millisecond later
    ],
)
@pytest.mark.parametrize("start", ["", ", start: calendar"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_returns_count_from_the_instant_of_the_entry(
    returns: str, expected: tuple[int, int], start: str, is_sealed: bool
) -> None:
    shards, records, entered = Shards(), list[Record](), 10 * DAY_MS
    for number, gap in enumerate((0, 1, -1, DAY_MS, DAY_MS - 1)):
        records += [Event(user(f"u{number}"), "A", entered, {}), Event(user(f"u{number}"), "B", entered + gap, {})]
    for number, gap in enumerate((0, 1)):
        records += [Event(user(f"again{number}"), "A", entered + each, {}) for each in (0, gap)]
    shards.apply(records)
    if is_sealed:
        shards.seal()
    context = tree.Context(30 * DAY_MS)
    report = pipeline.prepare(f'retention("A", return: "{returns}", unit: day, periods: 2{start})', None, context)
    assert isinstance(report, tree.Retention)
    assert answer(report, shards, context) == by_oracle(report, records, context)
    part = pipeline.evaluate_all(report, shards.capture(), Binder(context)).report
    assert isinstance(part, RetentionPart)
    assert [cohort.returned for cohort in part.cohorts.values()] == [expected]


def test_an_attempt_is_open_while_any_time_is_left() -> None:
    shards, now = Shards(), 30 * DAY_MS
    records: list[Record] = [Event(user(f"u{left}"), "A", now - DAY_MS + left, {}) for left in (-1, 0, 1, 2)]
    records.append(Event(user("u2"), "B", now, {}))  # it is at the end
    shards.apply(records)
    report, context = pipeline.prepare('funnel("A" -> "B", within: 1d)', None, tree.Context(now)), tree.Context(now)
    assert isinstance(report, tree.Funnel)
    assert answer(report, shards, context) == by_oracle(report, records, context)
    part = pipeline.evaluate_all(report, shards.capture(), Binder(context)).report
    assert isinstance(part, FunnelPart)
    assert part.incomplete == 1


def test_steps_of_too_many_events_are_refused_unless_the_window_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_query.evaluate.needs.check_bytes.__defaults__", (40 * 1024,))
    shards = Shards()
    shards.apply([Event(user(f"u{number}"), "A", number * DAY_MS, {}) for number in range(2000)])
    shards.apply([Event(user("u1999"), "B", 1999 * DAY_MS + 1, {})])
    shards.seal()
    views = shards.capture()
    for day, window, steps in ((2001, "", None), (2001, ", last: 100d", (98, 1)), (90, "", (91, 0))):
        context = tree.Context(day * DAY_MS)
        report = pipeline.prepare(f'funnel("A" -> "B", within: 7d{window})', None, context)
        with pytest.raises(QueryTooLarge, match="shorter window") if steps is None else nullcontext():
            assert pipeline.evaluate_all(report, views, Binder(context)).steps == steps


def test_a_report_of_two_calls_counts_as_one_evaluation() -> None:
    shards = Shards(3)
    shards.apply([Event(user(f"u{number}"), name, number, {}) for number in range(30) for name in "AB"])
    context, views = tree.Context(DAY_MS), shards.capture()
    report = pipeline.prepare('retention("A", return: "B", unit: day, periods: 2)', None, context)
    counted = pipeline.evaluate_all(report, views, Binder(context)).stats[REPORT]
    assert (counted.evaluations, counted.rows_true) == (3, 30)


@pytest.mark.parametrize("starts", [(0, 10_000), (0, 5_000, 10_000)])
@pytest.mark.parametrize("count", [5, 100])
def test_events_of_overlapping_chunks_are_put_in_order(count: int, starts: tuple[int, ...]) -> None:
    """One event of the first step precedes one of the second closely, and lies in the last chunk.

    The list of users that are out of order has room for as many as there are: of three chunks it gets one twice, and
    then has no room for the other.
    """
    shards, records, middle = Shards(), list[Record](), count // 2 * 20_000
    for start in starts:
        users = [user("u")] if start == 5_000 else [user("u"), user("v")]
        own = [Event(who, "A", start + 20_000 * number, {}) for who in users for number in range(count)]
        records += own
        shards.apply(own)
        shards.seal()
    last = [Event(user(name), "B", middle + 13_000, {}) for name in "uv"]
    shards.apply(last)
    context = tree.Context(DAY_MS)
    report = pipeline.prepare('funnel("A" -> "B", within: 4s)', None, context)
    assert isinstance(report, tree.Funnel)
    views = shards.capture()
    assert len(views[0].event_chunks(views[0].schema.events["A"])) == len(starts)
    assert answer(report, shards, context) == by_oracle(report, [*records, *last], context)
    assert pipeline.evaluate_all(report, views, Binder(context)).steps == (2, 2)


@pytest.mark.parametrize("window", ["", ", last: 100d"])
@pytest.mark.parametrize("where", ["", ", hour() in 0..11"])
@pytest.mark.parametrize("unit", ["day", "week", "month"])
def test_a_trend_counts_users_once_though_chunks_reach_far_back(unit: str, where: str, window: str) -> None:
    """Per user a trend remembers 64 periods: beyond that it is counted in several stretches."""
    shards, random, records = Shards(), Random(11), list[Record]()
    for is_sealed in (True, True, True, False):
        own = [Event(user(f"u{random.randrange(9)}"), "A", random.randrange(400 * DAY_MS), {}) for _ in range(60)]
        records += own
        shards.apply(own)
        if is_sealed:
            shards.seal()
    [view], context = shards.capture(), tree.Context(380 * DAY_MS, "Europe/Berlin")
    assert chunk_table(view, (view.schema.events["A"],), is_gathered=True).overlap_ms > 60 * DAY_MS
    report = pipeline.prepare(f'trend("A"{where}, unit: {unit}{window})', None, context)
    assert isinstance(report, tree.Trend)
    assert answer(report, shards, context) == by_oracle(report, records, context)


@pytest.mark.parametrize("periods", [1, 64, 65, 140])
@pytest.mark.parametrize("mode", ["on", "on_or_after"])
@pytest.mark.parametrize("start", ["rolling", "calendar"])
@pytest.mark.parametrize("returns", ["B", "A"])
def test_returns_of_many_periods_are_found_64_at_a_time(returns: str, start: str, mode: str, periods: int) -> None:
    shards, random, records = Shards(2), Random(12), list[Record]()
    for is_sealed in (True, False):
        own = [
            Event(user(f"u{random.randrange(20)}"), random.choice("AB"), random.randrange(300) * DAY_MS // 2, {})
            for _ in range(150)
        ]
        records += own
        shards.apply(own)
        if is_sealed:
            shards.seal()
    context = tree.Context(150 * DAY_MS)
    text = f'retention("A", return: "{returns}", unit: day, periods: {periods}, mode: {mode}, start: {start})'
    report = pipeline.prepare(text, None, context)
    assert isinstance(report, tree.Retention)
    assert answer(report, shards, context) == by_oracle(report, records, context)


@pytest.fixture(scope="module")
def large() -> tuple[Shards, Shards]:
    """A partition of more than a morsel of rows, with chunks that overlap, unsealed events, and a very busy user; and
    the same users in several partitions of one morsel each.
    """
    one, several, random = Shards(), Shards(3), Random(5)
    for count, sealed in ((90_000, True), (60_000, True), (30_000, True), (3_000, False)):
        times = sorted(random.randrange(50 * DAY_MS) for _ in range(count))
        records = [
            Event(
                user(f"u{random.randrange(90_000) if number % 50 else 7}"),
                random.choice("ABC"),
                ts,
                {"x": random.randrange(10)},
            )
            for number, ts in enumerate(times)
        ]
        random.shuffle(records)
        for shards in (one, several):
            shards.apply(records)
            if sealed:
                shards.seal()
    return one, several


@pytest.mark.parametrize(
    "text",
    [
        'funnel("A" -> "B" -> "C", within: 7d, last: 40d)',
        'funnel("A"(x > 3) -> "B"(x < 8), within: 7d, tie: strict)',
        'funnel("C" -> "A" -> "B")',
        'trend("A", unit: day, last: 40d)',
        'trend("A", x > 2, unit: week)',
        'retention("A", return: "B", unit: week, periods: 8, last: 40d)',
        'retention("A", return: "A", unit: day, periods: 40, mode: on_or_after)',
        'retention("A", x > 5, return: "B", x < 3, unit: month, periods: 4, start: calendar)',
    ],
)
@pytest.mark.parametrize("days", [51, 30])
def test_rows_beyond_the_first_morsel_are_reported_too(large: tuple[Shards, Shards], text: str, days: int) -> None:
    one, several = large
    context = tree.Context(days * DAY_MS)
    report = pipeline.prepare(text, None, context)
    assert one.capture()[0].row_count > MORSEL_ROWS > max(view.row_count for view in several.capture())
    assert answer(report, one, context) == answer(report, several, context)
