"""Events that stand in their profiles already are told by whose they are and all that they say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.memory.contents import contents_of
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.reading import taken_before as module
from cdp_store.reading.taken_before import taken_before
from cdp_store.records.records import RecordBatch
from tests.raw_records import Change, Event, user
from tests.shards import KEY, batch_of

T = 1_767_225_600_000


def _partition(*records: Event | Change) -> Partition:
    partition = Partition(PartitionId(0), KEY)
    partition.apply(batch_of(records), SequenceNumber(1))
    return partition


def test_an_event_is_known_in_its_own_profile_with_its_own_time_and_values() -> None:
    partition = _partition(
        Event(user("ann"), "Order", T, {"sum": 1, "text": "a"}),
        Event(user("bob"), "Order", T, {"sum": 2}),
        Change(user("cy"), T, {"sum": 3}),
    )
    said = batch_of([
        Event(user("bob"), "Order", T, {"sum": 1, "text": "a"}),  # ann's
        Event(user("ann"), "Order", T, {"text": "a", "sum": 1}),
        Event(user("ann"), "Order", T + 1, {"sum": 1, "text": "a"}),
        Event(user("ann"), "View", T, {"sum": 1, "text": "a"}),
        Event(user("nobody"), "Order", T, {"sum": 2}),
        Event(user("bob"), "Order", T, {"sum": 2}),
        Change(user("cy"), T, {"sum": 3}),
    ])  # fmt: skip
    assert taken_before(partition, said).tolist() == [False, True, False, False, False, True, False]


def test_many_profiles_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look goes through all chunks: one for each of thousands of profiles kept a shard from all else."""
    looks = list[int]()

    def counted(view: PartitionView, rows: Sequence[int]) -> RecordBatch:
        looks.append(len(rows))
        return contents_of(view, rows)

    monkeypatch.setattr(module, "contents_of", counted)
    events = [Event(user(f"u{number}"), "Order", T, {"n": number}) for number in range(600)]
    assert taken_before(_partition(*events), batch_of(events)).all()
    assert looks == [256, 256, 88]
