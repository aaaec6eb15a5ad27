"""CleverTap's query language: what it becomes here, and what is said of what cannot be taken."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language import parse, print_question
from cdp_query.language.cql import import_cql, read_cql
from cdp_query.pipeline import check
from cdp_store.values import to_ms
from tests.raw_records import Change, Event, User, user
from tests.shards import Shards

_DAYS = {"from": 20150810, "to": 20151025}
_WINDOW = "from: 2015-08-10, to: 2015-10-25"


def _field(name: str, operator: str, *value: Any) -> dict[str, Any]:
    return {"name": name, "operator": operator, **({"value": value[0]} if value else {})}


def _event(name: str, *properties: dict[str, Any]) -> dict[str, Any]:
    return {"event_name": name, **_DAYS, **({"event_properties": list(properties)} if properties else {})}


CASES: list[tuple[dict[str, Any], str]] = [
    (_event("App Launched"), f'did("App Launched", {_WINDOW})'),
    (
        _event("choseNewFavoriteFood", _field("value", "contains", "piz")),
        f'did("choseNewFavoriteFood", value contains "piz", {_WINDOW})',
    ),
    (
        _event("Charged", _field("Amount", "greater_than", 50), _field("Payment mode", "equals", ["Cash", "Card"])),
        f'did("Charged", Amount > 50, prop("Payment mode") in ["Cash", "Card"], {_WINDOW})',
    ),
    (
        _event("Charged", _field("Items|Category", "exists"), _field("Coupon", "does_not_exist")),
        f'did("Charged", exists(prop("Items|Category")), missing(Coupon), {_WINDOW})',
    ),
    (
        _event("Viewed", _field("Price", "less_than_equals", 9.5), {"name": "Color", "value": "red"}),
        f'did("Viewed", Price <= 9.5, Color in ["red"], {_WINDOW})',
    ),
    (
        {**_event("App Launched"), "common_profile_properties": {"profile_fields": [
            _field("Customer Type", "equals", "Platinum"), _field("Last Score", "greater_than_equals", 5)]}},
        f'did("App Launched", {_WINDOW}) and attr("Customer Type") in ["Platinum"] and attr("Last Score") >= 5',
    ),
    (
        {"did_all": [_event("App Launched"), _event("Charged", _field("Amount", "less_than", 100))]},
        f'not inactive(365d) and did("App Launched", {_WINDOW}) and did("Charged", Amount < 100, {_WINDOW})',
    ),
    (
        {**_event("App Launched"), "advanced_query": {
            "did_any": [_event("Viewed"), _event("Charged")], "did_none": [_event("App Uninstalled")]}},
        f'did("App Launched", {_WINDOW}) and (did("Viewed", {_WINDOW}) or did("Charged", {_WINDOW}))'
        f' and not did("App Uninstalled", {_WINDOW})',
    ),
    (
        {"common_profile_properties": {"profile_fields": [_field("plan", "equals", "gold")]}},
        'not inactive(365d) and plan in ["gold"]',
    ),
    (
        {"did_none": [_event("A"), _event("B")]},
        f'not inactive(365d) and not (did("A", {_WINDOW}) or did("B", {_WINDOW}))',
    ),
    (
        {**_event("Charged"), "count": {"operator": "less_than", "value": 5}},
        f'count("Charged", {_WINDOW}, zero: exclude) < 5',
    ),
    (_event("A", _field("ok", "equals", "True")), f'did("A", ok in ["True", true], {_WINDOW})'),
    (_event("A", _field("ok", "not_equals", ["x", "y"])), f'did("A", ok not in ["x", "y"], {_WINDOW})'),
    (
        _event("A", _field("t", "does_not_contain", ["x", "y"])),
        f'did("A", not (t contains "x" or t contains "y"), {_WINDOW})',
    ),
    (_event("A", _field("n", "greater_than", [5, 9])), f'did("A", n > 5 or n > 9, {_WINDOW})'),
]  # fmt: skip


@pytest.mark.parametrize(("query", "text"), CASES, ids=[text for _, text in CASES])
def test_a_query_becomes_the_text_that_means_the_same(query: dict[str, Any], text: str) -> None:
    read = read_cql(json.dumps(query))
    assert print_question(read) == text
    assert repr(read) == repr(parse(text))
    check(read, tree.Context(0))


def _at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _members(query: dict[str, Any]) -> set[User]:
    shards = Shards(2)
    shards.apply(
        [
            Event(user("first day"), "A", _at("2015-08-10T00:00")),
            Event(user("last day"), "A", _at("2015-10-25T23:59:59.999")),
            Event(user("before"), "A", _at("2015-08-09T23:59:59.999")),
            Event(user("after"), "A", _at("2015-10-26T00:00")),
            Change(user("never"), 0, {"plan": "gold"}),
        ]
    )
    return shards.members(import_cql(query), tree.Context(_at("2016-01-01")))


def test_both_days_are_included_and_zero_is_not() -> None:
    inside = {user("first day"), user("last day")}
    assert _members(_event("A")) == inside
    for operator, value in (("less_than", 3), ("less_than_equals", 1), ("not_equals", 7), ("equals", 1)):
        assert _members({**_event("A"), "count": {"operator": operator, "value": value}}) == inside
    assert _members({**_event("A"), "count": {"operator": "equals", "value": 0}}) == set()


BAD: list[tuple[Any, str]] = [
    ([], "the query: must be an object"),
    ({}, "says nothing"),
    ({"event_nam": "A"}, "did you mean 'event_name'"),
    ({"from": 20150810}, "from: needs an event_name"),
    ({"event_name": "A", "to": 20151025}, "from: must be a day"),
    ({"event_name": "A", "from": "20150810", "to": 20151025}, "from: must be a day"),
    ({"event_name": "A", "from": 20151301, "to": 20151025}, "from: must be a day"),
    ({"event_name": "A", "from": 2015081, "to": 20151025}, "from: must be a day"),
    ({"event_name": "", **_DAYS}, "event_name: must be the name"),
    ({**_event("A"), "session_properties": []}, "'session_properties' is not known"),
    ({**_event("A"), "event_properties": {}}, "event_properties: must be a list"),
    (_event("A", {"operator": "equals", "value": 1}), "event_properties[0].name"),
    (_event("A", _field("x", "equal", 1)), "did you mean 'equals'"),
    (_event("A", _field("x", "equals")), "event_properties[0].value: must be given"),
    (_event("A", _field("x", "equals", [])), "must not be empty"),
    (_event("A", _field("x", "equals", {"a": 1})), "not a string or number"),
    (_event("A", _field("x", "equals", 2**63)), "larger than any number"),
    (_event("A", _field("x", "contains", 5)), "looks for strings"),
    (_event("A", _field("x", "less_than", "5")), "compared as a number"),
    ({"did_all": []}, "did_all: must be a list"),
    ({"did_all": [_event("A"), {"event_name": "B", "from": 20150810}]}, "did_all[1].to"),
    ({"advanced_query": {"did_some": []}}, "'did_some' is not known"),
    ({"did_all": [_event("A")], "advanced_query": {"did_all": [_event("A")]}}, "given twice"),
    ({"common_profile_properties": {"gender": "M"}}, "'gender' is not known"),
    ({"common_profile_properties": {}}, "profile_fields: must be a list"),
    ({**_event("A"), "count": {"operator": "about", "value": 5}}, "count.operator"),
    ({**_event("A"), "count": {"operator": "equals", "value": "5"}}, "count.value"),
]


@pytest.mark.parametrize(("query", "part"), BAD, ids=[part for _, part in BAD])
def test_what_cannot_be_taken_is_named_by_its_path(query: Any, part: str) -> None:
    with pytest.raises(QueryInvalid) as caught:
        read_cql(json.dumps(query))
    assert str(caught.value).startswith("CQL: ")
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "nul", '{"event_name": "\\ud800", "from": 1, "to": 2}', "[" * 100_000])
def test_what_is_no_json_is_an_error_of_the_question(text: str) -> None:
    with pytest.raises(QueryInvalid, match="CQL"):
        read_cql(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("event_name", "from", "to", "event_properties", "count", "did_all", "name", "value", "operator")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_a_segment_or_an_error_of_the_question(query: Any) -> None:
    try:
        check(import_cql(query), tree.Context(0))
    except QueryInvalid:
        pass
