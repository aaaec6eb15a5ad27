"""A capture does not repeat the work for what has not changed since the last one."""

from __future__ import annotations

from cdp_store.ids import SequenceNumber
from tests.raw_records import Change, Event, user
from tests.shards import batch_of, filled

ANN, BOB = user("ann"), user("bob")


def test_readings_of_attributes_are_shared_until_one_changes_or_a_row_comes() -> None:
    partition = filled([Change(ANN, 1, {"plan": "free"}), Event(ANN, "View", 1)])
    first = partition.capture()
    partition.apply(batch_of([Event(ANN, "View", 2)]), SequenceNumber(2))
    second = partition.capture()
    assert second is not first and second.attributes is first.attributes
    partition.apply(batch_of([Change(ANN, 3, {"plan": "gold"})]), SequenceNumber(3))
    third = partition.capture()
    assert third.attributes is not second.attributes
    assert [view.attributes[0].raw(0)[1] for view in (first, second, third)] == [0, 0, 1]
    partition.apply(batch_of([Event(BOB, "View", 4)]), SequenceNumber(4))
    fourth = partition.capture()
    assert fourth.attributes is not third.attributes
    assert [block.rows for block in fourth.attributes[0].blocks if block is not None] == [2]
