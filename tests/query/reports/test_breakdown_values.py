"""A row of a breakdown is the count of the segment that asks for its value; what differs has rows of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.errors import QueryInvalid
from cdp_query.reports.value_keys import EMPTY_LIST_KEY, NONE_KEY, ValueKey, item_key
from cdp_router.cli.console import value_label
from cdp_router.contract.key_values import from_key_value, to_key_value
from cdp_router.contract.values import from_value
from cdp_store.values import Kind
from tests import oracle, strategies
from tests.raw_records import Change, Event, Record, Value, user
from tests.shards import Shards

CONTEXT = tree.Context(10**12)
_LATE = datetime(2026, 1, 1, 12, 0, 0, 1000, tzinfo=UTC)
SCALARS: tuple[Value, ...] = (
    0, 0.0, -0.0, 1, 1.0, True, False, "1", "true", "null", "[1]", "[]", "(none)", "", 0.5, -1, -1.0, 2**53,
    2**53 + 1, float(2**53), 2.0**63, 2**63 - 1, -(2**63), -(2.0**63), 1e300, 5e-324, _LATE, "2026-01-01",
    "é", "e\u0301",
)  # fmt: skip
ITEMS: tuple[Value, ...] = (*SCALARS, None, [], [1], ["1"], [None], {"a": 1}, {"b": 2, "a": [1.0]})  # type: ignore[assignment]
VALUES = st.one_of(st.sampled_from(SCALARS), st.lists(st.sampled_from(ITEMS), max_size=4))


def _question(key: ValueKey) -> tree.Condition | None:
    """The condition that a person asks for a row; None where there is none to ask."""
    kind, value = key
    match kind:
        case 0:
            return tree.Exists(negated=True)
        case Kind.TIME:
            return tree.Compare(tree.Op.EQ, tree.Moment(str(value)))
        case Kind.LIST:
            return tree.SizeTest(tree.Op.EQ, 0) if key == EMPTY_LIST_KEY else None
    assert value is not None
    return tree.Compare(tree.Op.EQ, value)


def _answers(records: list[Record], partitions: int) -> tuple[Shards, dict[ValueKey, int]]:
    shards = Shards(partitions)
    shards.apply(records)
    return shards, dict(shards.ask(tree.Breakdown(tree.Everyone(), "v"), CONTEXT).values)


@given(st.lists(VALUES | st.none(), max_size=25), st.sampled_from((1, 2, 5)))
@settings(max_examples=120)
def test_every_row_counts_the_members_of_its_own_question(values: list[Value | None], partitions: int) -> None:
    records: list[Record] = [Change(user(f"u{n}"), 1, {"v": value, "x": 1}) for n, value in enumerate(values)]
    shards, rows = _answers(records, partitions)
    for key, count in rows.items():
        condition = _question(key)
        if condition is not None:
            assert shards.ask(tree.AttributeTest("v", condition), CONTEXT).count == count, key
        else:
            holders = [value for value in values if isinstance(value, list) and key in map(item_key, value)]
            assert len(holders) == count, key
    assert rows == _answers(records, 1)[1]
    # 1 and 1.0 are one row, so no two rows have equal values of one type.
    assert len({(kind in (Kind.INT, Kind.FLOAT), kind * (kind > Kind.FLOAT), value) for kind, value in rows}) == len(
        rows
    )


@given(strategies.records(), st.sampled_from(strategies.ATTRIBUTE_NAMES), strategies.contexts())
@settings(max_examples=60)
def test_rows_over_random_records_count_the_members_of_their_questions(
    records: list[Record], attribute: str, context: tree.Context
) -> None:
    shards = Shards(3)
    shards.apply(records)
    for key, count in shards.ask(tree.Breakdown(tree.Everyone(), attribute), context).values.items():
        condition = _question(key)
        if condition is not None:
            assert shards.ask(tree.AttributeTest(attribute, condition), context).count == count, key


@given(st.lists(VALUES | st.none(), min_size=1, max_size=12), st.booleans())
@settings(max_examples=60)
def test_groups_of_funnels_count_the_members_of_their_questions(values: list[Value | None], by_entry: bool) -> None:
    records: list[Record] = []
    for n, value in enumerate(values):
        records.append(Event(user(f"u{n}"), "A", 5, {} if value is None else {"v": value}))
        records.append(Change(user(f"u{n}"), 1, {"v": value, "x": 1}))
    shards = Shards(2)
    shards.apply(records)
    steps = (tree.Events(("A",)),)
    report = tree.Funnel(steps, by_entry="v") if by_entry else tree.Funnel(steps, by_attribute="v")
    part = shards.ask(report, CONTEXT).report
    groups: Mapping[ValueKey, object] = getattr(part, "groups")  # noqa: B009
    for key, group in groups.items():
        condition = _question(key)
        if condition is None:
            continue
        events = tree.Events(("A",), tree.PropertyTest("v", condition))
        segment: tree.Node = tree.Did(events) if by_entry else tree.AttributeTest("v", condition)
        assert shards.ask(segment, CONTEXT).count == getattr(group, "steps")[0], key  # noqa: B009


def test_one_and_one_point_zero_are_one_row_and_both_zeros_are_another() -> None:
    values: list[Value] = [1, 1.0, [1, 1.0], 0.0, -0.0, True]
    records: list[Record] = [Change(user(f"u{n}"), 1, {"v": value}) for n, value in enumerate(values)]
    for partitions in (1, 3, 7):
        _, rows = _answers(records, partitions)
        assert rows == {(Kind.INT, 1): 3, (Kind.INT, 0): 2, (Kind.BOOL, True): 1}
        assert [str(value) for _, value in sorted(rows)] == ["True", "0", "1"]


def test_items_that_are_no_single_values_have_rows_and_labels_of_their_own() -> None:
    values: list[Value] = [[None], "null", [[1]], "[1]", [{"a": 1}], [], "(none)", "1", 1]  # type: ignore[list-item]
    records: list[Record] = [Change(user(f"u{n}"), 1, {"v": value}) for n, value in enumerate(values)]
    records.append(Change(user("nothing"), 1, {"x": 1}))
    _, rows = _answers(records, 2)
    assert set(rows.values()) == {1}
    assert len(rows) == len(values) + 1
    messages = [to_key_value(key) for key in rows]
    assert [from_key_value(message) for message in messages] == list(rows)
    labels = {value_label(from_value(message)) for message in messages}
    assert labels == {
        "[null]", '"null"', "[[1]]", '"[1]"', '[{"a": 1}]', "[]", '"(none)"', '"1"', "1", "(none)",
    }  # fmt: skip


def test_an_empty_list_is_a_value_and_no_missing_one() -> None:
    records: list[Record] = [Change(user("a"), 1, {"v": []}), Change(user("b"), 1, {"x": 1})]
    shards, rows = _answers(records, 1)
    assert rows == {EMPTY_LIST_KEY: 1, NONE_KEY: 1}
    assert shards.ask(tree.AttributeTest("v", tree.Exists(negated=True)), CONTEXT).count == 1


def test_objects_in_lists_are_one_row_whatever_the_order_of_their_fields() -> None:
    records: list[Record] = [
        Change(user("a"), 1, {"v": [{"a": 1, "b": 2}]}),
        Change(user("b"), 1, {"v": [{"b": 2, "a": 1}]}),
    ]
    assert list(_answers(records, 2)[1].values()) == [2]


@pytest.mark.parametrize("value", [1.0, -0.0, 2.0**63, 0.5])
def test_a_float_key_from_an_older_shard_meets_the_integers_row(value: float) -> None:
    message = to_key_value((int(Kind.FLOAT), value))
    assert from_key_value(message) == oracle.number_key(value)


def test_a_funnel_is_broken_down_by_one_attribute() -> None:
    with pytest.raises(QueryInvalid, match="broken down by 'plan' already"):
        pipeline.read('funnel("A" -> "B", by: plan)', "country")


@pytest.mark.parametrize("count", [3, 256, 257, 300])
def test_many_strings_are_counted_again_when_more_of_them_have_come(count: int) -> None:
    shards = Shards(1)
    question = tree.Breakdown(tree.Everyone(), "v")
    shards.apply([Change(user(f"u{n}"), 1, {"v": f"text {n % count}"}) for n in range(2 * count)])
    expected = {(int(Kind.STRING), f"text {n}"): 2 for n in range(count)}
    for _ in range(2):
        assert dict(shards.ask(question, CONTEXT).values) == expected
    shards.apply([Change(user(f"new {n}"), 1, {"v": f"new {n}"}) for n in range(5)])
    expected |= {(int(Kind.STRING), f"new {n}"): 1 for n in range(5)}
    assert dict(shards.ask(question, CONTEXT).values) == expected


@pytest.mark.parametrize("wanted", [1, 2, 3, 9])
def test_texts_are_found_by_their_codes_however_many_are_asked_for(wanted: int) -> None:
    shards = Shards(2)
    shards.apply([Change(user(f"u{n}"), 1, {"v": f"text {n % 10}"}) for n in range(200)])
    texts = tuple(f"text {n}" for n in range(wanted))
    for negated, count in ((False, 20 * wanted), (True, 200 - 20 * wanted)):
        asked = tree.AttributeTest("v", tree.OneOf((*texts, "never seen"), negated))
        assert shards.ask(asked, CONTEXT).count == count
