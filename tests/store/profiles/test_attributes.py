"""Attribute columns: the latest change by time wins, and a captured view stands still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.columns.morsels import by_morsel
from cdp_store.ids import SequenceNumber
from cdp_store.limits import MORSEL_ROWS
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import AttributeColumn, Versions
from cdp_store.values import Kind, decode_value
from tests import strategies
from tests.raw_records import Change, user
from tests.shards import batch_of, filled
from tests.store.contents import raws_of, read_contents, typed, users_of

ANN, BOB = user("ann"), user("bob")
INT64S = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 127, 128, -128, -129, 255, 256, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, -(2**63)]),
)


def value_now(changes: list[Change]) -> Any:
    """What a partition says about `a` of ann, unsealed and sealed."""
    partition = filled(changes)
    found = [read_contents(partition.capture()).attributes.get("a", {}).get(ANN)]
    partition.maintain(0)
    found.append(read_contents(partition.capture()).attributes.get("a", {}).get(ANN))
    assert found[0] == found[1]
    return found[0]


def test_the_latest_time_wins_whatever_arrives_last() -> None:
    assert value_now([Change(ANN, 5, {"a": "new"}), Change(ANN, 3, {"a": "old"})]) == typed("new")


def test_among_equal_times_the_later_arrival_wins() -> None:
    assert value_now([Change(ANN, 5, {"a": 1}), Change(ANN, 5, {"a": 2.5})]) == typed(2.5)
    assert value_now([Change(ANN, 5, {"a": 1}), Change(ANN, 5, {"a": None})]) is None
    assert value_now([Change(ANN, 5, {"a": None}), Change(ANN, 5, {"a": 1})]) == typed(1)


def test_an_unset_hides_earlier_values_and_not_later_ones() -> None:
    assert value_now([Change(ANN, 5, {"a": 1}), Change(ANN, 6, {"a": None})]) is None
    assert value_now([Change(ANN, 7, {"a": 2}), Change(ANN, 6, {"a": None})]) == typed(2)


@given(st.lists(st.tuples(INT64S, st.integers(0, 3)), min_size=1, max_size=12))
@settings(max_examples=150)
def test_integers_of_64_bits_survive_in_any_order_of_widths(values: list[tuple[int, int]]) -> None:
    """A column is widened as larger values come; none may lose a bit."""
    users = [user(str(number)) for number in range(4)]
    changes = [Change(users[who], ts, {"a": value}) for ts, (value, who) in enumerate(values)]
    expected = {users[who]: typed(value) for value, who in values}
    partition = filled(changes)
    assert read_contents(partition.capture()).attributes["a"] == expected
    later = partition.capture()
    assert read_contents(later, len(values) - 1).attributes["a"] == expected


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 3)), min_size=1, max_size=9))
@settings(max_examples=100)
def test_floats_survive_to_the_last_bit(values: list[tuple[float, int]]) -> None:
    users = [user(str(number)) for number in range(4)]
    partition = filled(Change(users[who], ts, {"a": value}) for ts, (value, who) in enumerate(values))
    expected = {users[who]: typed(value) for value, who in values}
    assert read_contents(partition.capture()).attributes["a"] == expected


@given(strategies.records(), strategies.records(), strategies.moments())
@settings(max_examples=60)
def test_a_captured_view_is_not_changed_by_later_writes(before: list[Any], after: list[Any], instant: int) -> None:
    partition = filled(before)
    view = partition.capture()
    now, then = read_contents(view), read_contents(view, instant)
    if after:
        partition.apply(batch_of(after), SequenceNumber(9))
    partition.maintain(0)
    assert read_contents(view) == now
    assert read_contents(view, instant) == then


def test_the_arrays_of_a_capture_keep_their_bytes() -> None:
    """Copy on write: the same row, the same width, once in place and once grown."""
    partition = filled([Change(ANN, 1, {"a": 1}), Change(BOB, 1, {"a": 2})])
    reading = partition.capture().attributes[0]
    assert reading.blocks[0] is not None
    values = reading.blocks[0].columns[Kind.INT].values
    kept = values.tobytes()
    partition.apply(batch_of([Change(ANN, 2, {"a": 3})]), SequenceNumber(2))
    partition.apply(batch_of([Change(ANN, 3, {"a": 10**12})]), SequenceNumber(3))
    assert values.tobytes() == kept
    assert reading.raw(0) == (Kind.INT, 1)
    assert partition.capture().attributes[0].raw(0) == (Kind.INT, 10**12)


def test_two_captures_share_blocks_nobody_wrote() -> None:
    partition = filled([Change(ANN, 1, {"a": 1})])
    first, second = partition.capture().attributes[0], partition.capture().attributes[0]
    assert first.blocks[0] is second.blocks[0]


def test_attributes_set_once_in_a_first_record_keep_no_times() -> None:
    partition = filled([Change(user(str(n)), n, {"a": n, "b": "x"}) for n in range(50)])
    partition.apply(batch_of([Change(user("3"), 99, {"a": 7})]), SequenceNumber(2))
    view = partition.capture()
    first, second = (view.attributes[view.schema.attributes[name]].blocks[0] for name in "ab")
    assert first is not None
    assert first.changed is not None
    assert first.changed.rows.tolist() == [3]
    assert second is not None
    assert second.changed is None
    assert second.columns[Kind.STRING].present is None


@given(strategies.records(40))
@settings(max_examples=60)
def test_versions_are_all_changes_by_row_and_time_as_they_arrived(records: list[Any]) -> None:
    partition = filled(records)
    for _ in range(2):
        view = partition.capture()
        rows = {who: row for row, who in enumerate(users_of(view))}
        for name, attribute in view.schema.attributes.items():
            expected = [
                (rows[record.user], record.ts, _given(record.attributes[name]))
                for record in sorted(records, key=lambda record: record.ts)
                if isinstance(record, Change) and name in record.attributes
            ]
            expected.sort(key=lambda version: version[0] or 0)
            assert list(_read_versions(view, attribute)) == expected
        partition.maintain(0)


def _given(value: Any) -> Any:
    return None if value is None else typed(value)


def _read_versions(view: PartitionView, attribute: int) -> Iterator[tuple[int, int, Any]]:
    versions = view.attribute_versions(attribute)
    for row, ts, kind, raw in zip(versions.rows, versions.times, versions.kinds, versions.raws, strict=True):
        text = None
        if kind in (Kind.STRING, Kind.LIST):
            text = view.strings(attribute, attribute=True, is_list=kind == Kind.LIST)[int(raw)].as_py()
        yield int(row), int(ts), None if kind == Kind.UNSET else typed(decode_value(Kind(int(kind)), int(raw), text))


def test_history_is_asked_only_where_something_newer_is_known() -> None:
    partition = filled([Change(ANN, 10, {"a": 1}), Change(ANN, 20, {"a": 2})])
    view = partition.capture()
    assert view.attribute_at(0, 20) is view.attributes[0]
    for instant, expected in ((9, None), (10, typed(1)), (19, typed(1)), (20, typed(2))):
        assert read_contents(view, instant).attributes.get("a", {}).get(ANN) == expected


def test_an_attribute_never_set_has_no_reading() -> None:
    assert filled([Change(ANN, 1, {})]).capture().attribute_at(7, 5) is None


@given(st.lists(st.tuples(st.integers(0, 3 * MORSEL_ROWS), st.integers(-5, 5)), max_size=30))
@settings(max_examples=60)
def test_by_morsel_splits_rows_and_keeps_their_order(pairs: list[tuple[int, int]]) -> None:
    rows = np.array([row for row, _ in pairs], np.uint32)
    found = [
        (morsel * MORSEL_ROWS + int(inside), int(at))
        for morsel, local, where in by_morsel(rows)
        for inside, at in zip(local, where, strict=True)
    ]
    assert sorted(found, key=lambda pair: pair[1]) == [(row, at) for at, (row, _) in enumerate(pairs)]
    for _, _, where in by_morsel(rows):
        assert (np.diff(where) > 0).all()


def test_a_column_takes_changes_of_several_kinds() -> None:
    column = AttributeColumn()
    rows, times = np.array([0, 1, 2, 1], np.uint32), np.array([1, 1, 1, 2], np.int64)
    kinds = np.array([Kind.INT, Kind.FLOAT, Kind.TIME, Kind.BOOL], np.uint8)
    raws = raws_of([300, 0.1, 1_700_000_000_000, 1])
    past = column.apply(Versions(rows, times, kinds, raws), np.ones(4, np.int64))
    assert (past.rows.tolist(), past.times.tolist(), past.kinds.tolist()) == ([1], [1], [Kind.FLOAT])
    reading = column.capture(60_000)
    assert reading.raw(0) == (Kind.INT, 300)
    assert reading.raw(1) == (Kind.BOOL, 1)
    assert reading.raw(2) == (Kind.TIME, 1_700_000_000_000)
    assert reading.raw(50_000) == (Kind.UNSET, 0)
    assert reading.raw(500_000) == (Kind.UNSET, 0)
    assert reading.latest_ms == 2
