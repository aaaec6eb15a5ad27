"""Lists of objects: kept as they came, and asked by the same-element rule."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.errors import QueryError, QueryInvalid, QuerySyntaxError
from cdp_query.language import parse, print_question
from cdp_router.contract.question_codec import from_question, to_question
from cdp_store.values import to_datetime
from tests import oracle, strategies
from tests.raw_records import Change, Event, Record, User, user
from tests.shards import Shards
from tests.store.contents import check_same, expected_contents, read_contents

T = strategies.BORDER_MS
CONTEXT = tree.Context(T + 10)
FIELDS = ("sku", "qty", "p.color", "tags")


def scalars() -> st.SearchStrategy[object]:
    return st.one_of(st.sampled_from(["a", "b", "A", 1, 2, 2.0, 2.5, True, to_datetime(T)]), strategies.values())


def items() -> st.SearchStrategy[object]:
    """Mostly objects with few fields, some of them nested or lists; now and then something else."""
    nested = st.dictionaries(st.sampled_from(["color", "size"]), scalars(), max_size=2)
    fields = {
        "sku": scalars(),
        "qty": st.integers(0, 3),
        "p": st.one_of(nested, scalars()),
        "tags": st.lists(scalars(), max_size=2),
        "p.color": scalars(),
    }
    return st.one_of(st.fixed_dictionaries({}, optional=fields), st.fixed_dictionaries({}, optional=fields), scalars())


def lists() -> st.SearchStrategy[object]:
    return st.one_of(st.lists(items(), max_size=3), st.lists(items(), max_size=3), scalars(), st.none())


def filters(depth: int = 2) -> st.SearchStrategy[tree.Node]:
    leaves = st.one_of(
        st.builds(tree.PropertyTest, st.sampled_from(FIELDS), strategies.conditions("text")),
        st.builds(tree.PropertyTest, st.sampled_from(FIELDS), strategies.conditions("number")),
        st.builds(tree.PropertyTest, st.sampled_from(FIELDS), strategies.conditions()),
    )
    if not depth:
        return leaves
    inner = filters(depth - 1)
    groups = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(leaves, st.builds(tree.Not, inner), st.builds(tree.All, groups), st.builds(tree.Any, groups))


def item_conditions() -> st.SearchStrategy[tree.ItemsTest]:
    return st.builds(tree.ItemsTest, st.sampled_from(tree.ItemsOp), filters())


def segments() -> st.SearchStrategy[tree.Node]:
    """A test of items of an attribute, or inside the filter of an event."""
    of_events = st.builds(
        tree.Events, st.just(("Order",)), st.builds(tree.PropertyTest, st.just("lines"), item_conditions())
    )
    return st.one_of(
        st.builds(tree.AttributeTest, st.just("lines"), item_conditions()),
        st.builds(tree.Did, of_events, st.just(tree.ALWAYS)),
    )


def records_of(values: list[object]) -> list[Record]:
    changes = (Change(user(str(n)), T, {"lines": value}) for n, value in enumerate(values))
    orders = (Event(user(str(n)), "Order", T, {"lines": value}) for n, value in enumerate(values))
    return [*changes, *orders]


@given(st.lists(lists(), max_size=6), segments(), st.sampled_from(strategies.ZONES))
@settings(max_examples=300)
def test_items_answer_like_the_oracle(values: list[object], segment: tree.Node, tz: str) -> None:
    context, records = tree.Context(T + 10, tz), records_of(values)
    try:
        pipeline.check(segment, context)
    except QueryError:
        return
    shards = Shards()
    shards.apply(records)
    for _ in range(2):
        assert shards.members(segment, context) == oracle.members(segment, records, context)
        shards.seal()


@given(segments())
def test_items_survive_text_and_wire(segment: tree.Node) -> None:
    assert repr(from_question(to_question(segment))) == repr(segment)
    assert parse(print_question(segment)) == segment


@given(st.lists(lists(), max_size=6))
@settings(max_examples=50)
def test_lists_of_objects_are_kept_as_they_came(values: list[object]) -> None:
    shards, records = Shards(), records_of(values)
    shards.apply(records)
    shards.seal()
    check_same(read_contents(shards.partitions[0].capture()), expected_contents(records))


ORDERS = {
    "both": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 9}],
    "apart": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}],
    "nested": [{"sku": "c", "qty": 2, "p": {"color": "red"}}],
    "empty": [],
    "scalars": ["a", 2],
    "text": "a",
    "unset": None,
}
CASES = {
    'any(lines, sku = "a" and qty >= 2)': {"both"},
    'any(lines, sku = "a", qty >= 2)': {"both"},
    'any(lines, sku = "a") and any(lines, qty >= 2)': {"both", "apart"},
    "all(lines, qty >= 2)": {"both", "nested", "empty"},
    "all(lines, exists(qty)) and size(lines) > 0": {"both", "apart", "nested"},
    'none(lines, sku = "a")': {"nested", "empty", "scalars", "text", "unset"},
    'any(lines, p.color = "red" or qty = 9)': {"both", "nested"},
    'any(lines, not sku != "c")': {"nested"},
    "any(lines, missing(sku))": {"scalars"},
    'any(lines, prop("sku") in ["b", "c"] and not qty > 2)': {"apart", "nested"},
}


@pytest.mark.parametrize("text", CASES)
def test_what_items_mean(text: str) -> None:
    shards = Shards()
    shards.apply(Change(User("user_id", name), T, {"lines": value}) for name, value in ORDERS.items())
    segment = parse(text)
    assert not isinstance(segment, tree.Funnel | tree.Breakdown)
    assert {found.identifier for found in shards.members(segment, CONTEXT)} == CASES[text]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("any(lines)", "takes a list and conditions on its items"),
        ('any(lines, "a")', "conditions on the fields of an item"),
        ("any(lines, last: 3d)", "conditions on the fields of an item"),
        ("any(lines, qty > 1) = 3", "takes no comparison"),
        ('any("x", qty > 1)', "takes one name"),
        ('any(lines, did("Order"))', "not a function that can be used here"),
    ],
)
def test_a_test_of_items_that_makes_no_sense_is_explained(text: str, problem: str) -> None:
    with pytest.raises(QuerySyntaxError, match=problem):
        parse(text)


def test_only_fields_are_tested_in_items() -> None:
    segment = tree.AttributeTest("lines", tree.ItemsTest(tree.ItemsOp.ANY, tree.Everyone()))
    with pytest.raises(QueryInvalid, match="tested by their fields"):
        pipeline.check(segment, CONTEXT)
