"""The Python builder says what the text says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from cdp.v1 import segment_pb2 as pb
from google.protobuf import json_format

from cdp_query import tree
from cdp_query.language import parse
from cdp_router.client.questions import (
    SET,
    UNSET,
    Events,
    attr,
    avg_of,
    bucket,
    count,
    days,
    did,
    distinct_of,
    everyone,
    first_time,
    funnel,
    in_segment,
    inactive,
    last_time,
    max_of,
    median_of,
    min_of,
    p95_of,
    prop,
    sequence,
    sum_of,
)
from cdp_router.wire.questions import from_question

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
]


@pytest.mark.parametrize(("built", "text"), PAIRS, ids=[text for _, text in PAIRS])
def test_the_builder_says_what_the_text_says(built: Any, text: str) -> None:
    assert repr(from_question(built.question())) == repr(parse(text))


@pytest.mark.parametrize(("built", "text"), PAIRS, ids=[text for _, text in PAIRS])
def test_the_json_form_holds_all_of_it(built: Any, text: str) -> None:
    as_json = json_format.MessageToJson(built.question())
    assert json_format.Parse(as_json, pb.Question()) == built.question()


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
    with pytest.raises(TypeError, match="is no bool"):
        attr("a") == value  # noqa: B015


def test_what_cannot_be_calculated_with_is_refused() -> None:
    with pytest.raises(TypeError, match="is no number"):
        count("A") + "1"
    with pytest.raises(TypeError, match="is no number"):
        count("A") >= True  # noqa: B015
    with pytest.raises(TypeError, match="plain number only"):
        count("A").exclude_zero() > count("B")  # noqa: B015


def test_windows_are_one_at_a_time() -> None:
    with pytest.raises(TypeError, match="one window"):
        attr("a").was(last="1d", before="2026-01-01")
    with pytest.raises(ValueError, match="none of day"):
        did("A").this("fortnight")
