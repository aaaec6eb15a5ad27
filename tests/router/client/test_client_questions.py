"""The Python builder says what the text says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import segment_pb2 as pb
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse
from cdp_router.client.asking import query_request
from cdp_router.client.questions import (
    SET,
    UNSET,
    Events,
    all_of,
    any_of,
    at,
    attr,
    avg_of,
    bucket,
    count,
    days,
    did,
    diff,
    distinct_of,
    distribution,
    everyone,
    first_of,
    first_time,
    flow,
    funnel,
    hour,
    in_segment,
    inactive,
    last_of,
    last_time,
    max_of,
    median_of,
    min_of,
    mostly,
    nth,
    number,
    overlap,
    p95_of,
    prop,
    recency,
    regularly,
    resumed,
    retention,
    rfm,
    sequence,
    share,
    stopped,
    streak,
    sum_of,
    trend,
    weekday,
    weeks,
    without,
)
from cdp_router.contract.question_codec import from_question
from tests import strategies, strategies_attempts, strategies_reports
from tests.built import build
from tests.router.encodings import msgpack_batch
from tests.router.local_cluster import NOW_MS, local_cluster
from tests.strategies import MOMENTS

PAIRS: list[tuple[Any, str]] = [
    (
        (attr("plan") == "gold") & (count("Charged", prop("amount") >= 10).last("30d") >= 3),
        'plan = "gold" and count("Charged", amount >= 10, last: 30d) >= 3',
    ),
    (everyone(), "everyone"),
    (~did("App Launched").last("7d"), 'not did("App Launched", last: 7d)'),
    ((attr("a") == 1) | (attr("b") != 2.5) | (attr("c") < 3), "a = 1 or b != 2.5 or c < 3"),
    (((attr("a") == 1) | (attr("b") > 2)) & (attr("c") <= 3), "(a = 1 or b > 2) and c <= 3"),
    (attr("plan").equals("Gold", ignore_case=True), 'plan = "Gold" ci'),
    (attr("plan").is_in(["a", "b"]), 'plan in ["a", "b"]'),
    (attr("plan").not_in(["a"], ignore_case=True), 'plan not in ["a"] ci'),
    (attr("age").between(18, 30), "age between 18 and 30"),
    (attr("since") >= date(2026, 1, 31), "since >= 2026-01-31"),
    (
        attr("since") > datetime(2026, 1, 31, 10, tzinfo=UTC),
        "since > 2026-01-31T10:00:00.000+00:00",
    ),
    (attr("vip") == True, "vip = true"),  # noqa: E712  # a literal of the question
    (attr("n").contains("x"), 'n contains "x"'),
    (attr("n").starts_with("x", ignore_case=True), 'n starts_with "x" ci'),
    (attr("n").ends_with("x"), 'n ends_with "x"'),
    (attr("n").matches("^x"), 'n matches "^x"'),
    (attr("Customer type").exists(), 'exists(attr("Customer type"))'),
    (attr("plan").missing(), "missing(plan)"),
    (attr("tags").has("x"), 'tags has "x"'),
    (attr("tags").has_any(["x", 1]), 'tags has_any ["x", 1]'),
    (attr("tags").has_all(["x"]), 'tags has_all ["x"]'),
    (attr("tags").has_none(["x"]), 'tags has_none ["x"]'),
    (attr("tags").size() >= 2, "size(tags) >= 2"),
    (attr("app").version() < "5.10.0", 'version(app) < "5.10.0"'),
    (attr("since").within_last("7d"), "since within last 7d"),
    (attr("since").within_next("2w"), "since within next 2w"),
    (attr("since").older_than("1y"), "since older than 1y"),
    (attr("born").anniversary("0d", "7d"), "anniversary(born, 0d..7d)"),
    (attr("home").distance(52.5, 13.4) <= 5000, "distance(home, 52.5, 13.4) <= 5000"),
    (in_segment("vip"), 'in_segment("vip")'),
    (in_segment("vip", 2), 'in_segment("vip", version: 2)'),
    (bucket(0, 99), "bucket between 0 and 99"),
    (attr("plan").was(last="30d") == "gold", 'was(plan = "gold", last: 30d)'),
    (attr("plan").was().missing(), "was(missing(plan))"),
    (attr("plan").changed("a", ["b", "c"], last="3d"), 'changed(plan, from: "a", to: ["b", "c"], last: 3d)'),
    (
        attr("plan").changed(UNSET, SET, between=("2026-01-01", date(2026, 1, 31))),
        "changed(plan, from: unset, to: set, during: 2026-01-01..2026-01-31)",
    ),
    (attr("plan").changed(), "changed(plan)"),
    (attr("plan").unchanged("30d"), "unchanged(plan, for: 30d)"),
    (attr("plan").value_at("2026-01-31") == "gold", 'value_at(plan, 2026-01-31) = "gold"'),
    (attr("plan").value_at(date(2026, 1, 31)).exists(), "value_at(exists(plan), 2026-01-31)"),
    (attr("plan").value_at("30d") != "gold", 'value_at(plan, 30d) != "gold"'),
    (did(["A", "B"], prop("x") == 1, ~(prop("y") == 2)), 'did(["A", "B"], x = 1, not y = 2)'),
    (did("A", (prop("x") == 1) | (prop("y") == 2)), 'did("A", x = 1 or y = 2)'),
    (did("A", prop("place").distance(1, 2) < 10), 'did("A", distance(place, 1, 2) < 10)'),
    (count("A").exclude_zero().this("month") < 5, 'count("A", this: month, zero: exclude) < 5'),
    (sum_of("A", "x").previous("year") > 1.5, 'sum("A".x, previous: year) > 1.5'),
    (min_of("A", "x").ago("1d", "3d") > 1, 'min("A".x, ago: 1d..3d) > 1'),
    (max_of("A", "x").more_than_ago("1d") > 1, 'max("A".x, more_than_ago: 1d) > 1'),
    (avg_of("A", "x", prop("y") == 1).days_ago(3) > 1, 'avg("A".x, y = 1, days_ago: 3) > 1'),
    (inactive("30d"), "inactive(30d)"),
    (median_of("A", "x") > 1, 'median("A".x) > 1'),
    (p95_of("A", "x").last("7d") > 2.5, 'p95("A".x, last: 7d) > 2.5'),
    (distinct_of("A", "x") >= 3, 'distinct("A".x) >= 3'),
    (sum_of("A", "x") / count("A") > 5, 'sum("A".x) / count("A") > 5'),
    (days("A").last("30d") >= 3, 'days("A", last: 30d) >= 3'),
    (count("View") > 2 * count("Buy"), 'count("View") > 2 * count("Buy")'),
    (
        (count("A").last("7d") + count("B") - 1) / days("A", prop("x") == 1) < 0.5 * count("C"),
        '(count("A", last: 7d) + count("B") - 1) / days("A", x = 1) < 0.5 * count("C")',
    ),
    (1 - count("A") == 3 / count("B"), '1 - count("A") = 3 / count("B")'),
    (first_time("A").last_calendar("7d"), 'first_time("A", last_calendar: 7d)'),
    (last_time("A").before("2026-01-01"), 'last_time("A", before: 2026-01-01)'),
    (did("A").after(date(2026, 1, 1)), 'did("A", after: 2026-01-01)'),
    (
        did("A").between_dates("2026-01-01", "2026-01-31"),
        'did("A", from: 2026-01-01, to: 2026-01-31)',
    ),
    (
        sequence(Events("A", prop("x") > 1), "B").within("1h").last("90d").strict_ties(),
        'sequence("A"(x > 1) -> "B", within: 1h, last: 90d, tie: strict)',
    ),
    (funnel("A", Events(["B", "C"])).within("7d"), 'funnel("A" -> ["B", "C"], within: 7d)'),
    (did("A", hour(9, 17), weekday("sat", "sun")), 'did("A", hour() in 9..17, weekday() in ["sat", "sun"])'),
    (recency("A", prop("x") > 1) > "30d", 'recency("A", x > 1) > 30d'),
    (nth(Events("A", prop("x") > 1), 2, prop("y") == 1).last("9d"), 'nth("A"(x > 1), 2, y = 1, last: 9d)'),
    (first_of("A", "way").last("30d") == "mail", 'first("A".way, last: 30d) = "mail"'),
    (last_of("A", "way").not_contains("m"), 'last("A".way) not contains "m"'),
    (mostly("A", "way", prop("x") > 1).is_in(["card"]), 'mostly("A".way in ["card"], x > 1)'),
    ((share("A", "way") == "card") >= 0.4, 'share("A".way = "card") >= 0.4'),
    (regularly("A", times=1, per="week", periods=3, of_last=4), 'regularly("A", 1 per week, 3 of last 4)'),
    (
        stopped("A", earlier={"ago": ("7d", "30d")}, later={"last": "7d"}),
        'stopped("A", ago: 7d..30d, last: 7d)',
    ),
    (resumed("A", gap={"ago": ("7d", "30d")}), 'resumed("A", ago: 7d..30d)'),
    (streak("A").within_first("30d", "B") >= 3, 'streak("A", within: 30d, of_first: "B") >= 3'),
    (weeks("A").last("90d") >= 4, 'weeks("A", last: 90d) >= 4'),
    (did("A").since("renewed_at"), 'did("A", since: renewed_at)'),
    (attr("items").any_item(prop("sku") == "a", prop("qty") >= 2), 'any(items, sku = "a" and qty >= 2)'),
    (number(5) > 2 * count("A"), '5 > 2 * count("A")'),
    (attr("since") > at("2026-01-31T10:00"), "since > 2026-01-31T10:00"),
    (all_of(attr("a") == 1, any_of(attr("b") == 1, attr("c") == 1)), "a = 1 and (b = 1 or c = 1)"),
    (
        funnel("A", without("X"), "B").order("strict").hold("sku").mode("totals").by("plan").with_times(),
        'funnel("A" -> without "X" -> "B", order: strict, hold: sku, mode: totals, by: plan, times: on)',
    ),
    (
        sequence("A", "B").within("1h").within_each("5m").within_first("7d", "Signup"),
        'sequence("A" -> "B", within: 1h, within_each: 5m, for: 7d, of_first: "Signup")',
    ),
    (trend("A", unit="day", of="amount").last("90d"), 'trend("A".amount, unit: day, last: 90d)'),
    (
        retention("A", Events("B", prop("x") > 1), unit="week", periods=8),
        'retention("A", return: "B"(x > 1), unit: week, periods: 8)',
    ),
    (rfm("A", "amount").last("365d"), 'rfm("A".amount, last: 365d)'),
    (
        flow("A", depth=3, within="7d", direction="before", anchor="each", only=["B"]).last("90d"),
        'flow("A", depth: 3, within: 7d, direction: before, anchor: each, only: "B", last: 90d)',
    ),
    (overlap(attr("a") == 1, did("A")), 'overlap(a = 1, did("A"))'),
    (diff(attr("a") == 1, date(2026, 1, 1), "2026-02-01"), "diff(a = 1, from: 2026-01-01, to: 2026-02-01)"),
    (distribution(everyone(), count("A").last("30d")), 'distribution(everyone, count("A", last: 30d))'),
    (distribution(everyone(), attr("age")), "distribution(everyone, age)"),
]


@pytest.mark.parametrize(("built", "text"), PAIRS, ids=[text for _, text in PAIRS])
def test_the_builder_says_what_the_text_says(built: Any, text: str) -> None:
    assert repr(from_question(built.question())) == repr(parse(text))


@pytest.mark.parametrize(("built", "text"), PAIRS, ids=[text for _, text in PAIRS])
def test_the_json_form_holds_all_of_it(built: Any, text: str) -> None:
    as_json = json_format.MessageToJson(built.question())
    assert json_format.Parse(as_json, pb.Question()) == built.question()


def _types_in(part: object) -> Iterator[type]:
    if isinstance(part, tuple | frozenset):
        for item in part:
            yield from _types_in(item)
    elif is_dataclass(part) and not isinstance(part, type):
        yield type(part)
        for field in fields(part):
            yield from _types_in(getattr(part, field.name))


def _kinds_of_questions() -> Iterator[st.SearchStrategy[tree.Question]]:
    """So many that each type of the tree comes up often."""
    of_events = {tree.HourTest, tree.WeekdayTest, tree.DistanceTest}
    where = strategies.filters(1).filter(lambda part: not of_events & {*_types_in(part)})
    items = st.builds(tree.ItemsTest, st.sampled_from(tree.ItemsOp), where)
    yield strategies.segments(3)
    yield strategies.predicates()
    yield strategies.expression_tests()
    for condition in (strategies.conditions(), strategies.conditions("time"), strategies.conditions("list"), items):
        yield st.builds(tree.AttributeTest, st.just("tags"), condition)
    yield strategies_reports.reports()
    yield strategies_attempts.funnels()
    yield st.one_of(
        st.builds(tree.InSegment, st.just("vip"), st.sampled_from((None, 3))),
        st.builds(tree.Diff, strategies.segments(2), st.sampled_from(MOMENTS), st.sampled_from(MOMENTS)),
        st.builds(tree.Breakdown, strategies.predicates(), st.just("plan")),
    )


def test_everything_that_can_be_asked_can_be_built() -> None:
    """As random questions go, and none of the tree's types is missing among them."""
    seen = set[type]()

    def check(question: tree.Question) -> None:
        seen.update(_types_in(question))
        assert repr(from_question(build(question).question())) == repr(question)

    for questions in _kinds_of_questions():
        settings(max_examples=80, derandomize=True, database=None)(given(questions)(check))()
    types = {value for value in vars(tree).values() if isinstance(value, type) and is_dataclass(value)}
    assert types - seen == {tree.Context}


def test_a_breakdown_is_built_from_its_segment() -> None:
    asked = from_question((attr("a") == 1).by("plan").question())
    assert asked == tree.Breakdown(tree.AttributeTest("a", tree.Compare(tree.Op.EQ, 1)), "plan")


def test_python_words_between_segments_are_refused() -> None:
    with pytest.raises(TypeError, match="& | ~"):
        (attr("a") == 1) and (attr("b") == 2)
    with pytest.raises(TypeError, match="& | ~"):
        not (prop("a") == 1)


@pytest.mark.parametrize("length", ["30", "d", "30 d", "-3d", "3q", ""])
def test_a_duration_that_is_none_says_how_to_write_one(length: str) -> None:
    with pytest.raises(ValueError, match="such as 30d"):
        did("A").last(length)


@pytest.mark.parametrize("value", [None, object(), float("nan"), ["a"]])
def test_what_is_no_literal_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="is not a bool"):
        attr("a") == value  # noqa: B015


def test_what_cannot_be_calculated_with_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a number"):
        count("A") + "1"
    with pytest.raises(TypeError, match="is not a number"):
        count("A") >= True  # noqa: B015
    with pytest.raises(TypeError, match="plain number only"):
        count("A").exclude_zero() > count("B")  # noqa: B015


def test_words_of_the_language_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="days are mon"):
        weekday("saturday")
    with pytest.raises(ValueError, match="none of ordered, strict, any"):
        sequence("A", "B").order("random")
    with pytest.raises(ValueError, match="none of after, before"):
        flow("A", depth=1, direction="up")
    with pytest.raises(TypeError, match="between two steps"):
        sequence("A", "B", without("X"))
    with pytest.raises(TypeError, match="one or more segments, or of one or more filters"):
        all_of(attr("a") == 1, prop("a") == 1)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="in parentheses"):
        share("A", "x") == 1 >= 0.4  # noqa: B015
    with pytest.raises(TypeError, match="compared with a number"):
        (share("A", "x") == 1) >= "a"  # type: ignore[operator]  # noqa: B015


def test_windows_are_one_at_a_time() -> None:
    with pytest.raises(TypeError, match="one window"):
        attr("a").was(last="1d", before="2026-01-01")
    with pytest.raises(ValueError, match="none of day"):
        did("A").this("fortnight")


def test_an_expression_is_broken_down_like_a_text(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(msgpack_batch([[None, "u1", None, NOW_MS, None, {"plan": "gold"}]]))
        asked = query_request(attr("plan") == "gold", by="plan")
        answer = cluster.ask(asked)
        assert [(row.value.text, row.count) for row in answer.breakdown] == [("gold", 1)]
        with pytest.raises(QueryInvalid, match="takes a segment"):
            cluster.ask(query_request(overlap(did("A"), did("B")), by="plan"))
