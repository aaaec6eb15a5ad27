"""A partition against a list of records, case by case; test_partition_machine.py mixes them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.events.event_tables import prepare_compactions, prepare_seal
from cdp_store.ids import ANONYMOUS_ID, PartitionId, SequenceNumber, encode_identifier
from cdp_store.limits import BUCKET_CHUNKS_MAX, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX
from cdp_store.memory.memory import PartitionMemory
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from tests import strategies
from tests.raw_records import Change, Event, Record, anonymous, user
from tests.shards import KEY, SMALL_LAYOUT, batch_of, filled
from tests.store.contents import check_same, expected_contents, read_contents, typed

ANN, BOB = user("ann"), user("bob")


@given(strategies.records(), st.integers(1, 20))
@settings(max_examples=40)
def test_many_seals_of_one_bucket_are_compacted_and_lose_nothing(records: list[Record], size: int) -> None:
    partition = Partition(PartitionId(0), KEY, SMALL_LAYOUT)
    for start in range(0, len(records), size):
        partition.apply(batch_of(records[start : start + size]), SequenceNumber(start + 1))
        partition.maintain(0)
    view = partition.capture()
    check_same(read_contents(view), expected_contents(records))
    for name in view.schema.events.values():
        buckets = [chunk.bucket for chunk in view.event_chunks(name)]
        assert max(map(buckets.count, buckets)) < BUCKET_CHUNKS_MAX


@given(st.lists(strategies.records(12), min_size=4, max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_writes_between_preparing_and_installing_a_seal_or_compaction_are_kept(
    batches: list[list[Record]], random: Random
) -> None:
    """Sealing runs beside writes: what it prepared is older than what it is installed into."""
    memory, records = PartitionMemory(KEY, SMALL_LAYOUT), list[Record]()

    def write() -> None:
        if batches:
            batch = batches.pop()
            memory.apply(batch_of(batch), SequenceNumber(len(records)))
            records.extend(batch)

    while batches:
        write()
        for tables in (memory.events, memory.changes):
            sealed = prepare_seal(tables.capture())
            write()
            tables.install_seal(sealed)
            for done in prepare_compactions(tables.capture(), least=2):
                if random.random() < 0.5:
                    write()
                    tables.install_seal(prepare_seal(tables.capture()))
                tables.install_compaction(done)
    partition = Partition(PartitionId(0), KEY)
    partition._memory = memory
    partition.validate()
    check_same(read_contents(partition.capture()), expected_contents(records))


def test_a_profile_is_created_by_its_earliest_record_whenever_it_arrives() -> None:
    views = [Event(ANN, "View", 300), Event(ANN, "View", 900), Event(BOB, "View", 400)]
    partition = filled([Change(ANN, 500, {}), *views])
    view = partition.capture()
    assert view.created_by(299).tolist() == [False, False]
    assert view.created_by(300).tolist() == [True, False]
    assert view.created_by(400).tolist() == [True, True]
    partition.apply(batch_of([Change(ANN, -5, {})]), SequenceNumber(2))
    assert partition.capture().created_by(-5).tolist() == [True, False]
    assert view.created_by(-5).tolist() == [False, False], "an earlier view stands"


def test_the_same_identifier_of_another_kind_is_another_profile() -> None:
    partition = filled([Event(user("x"), "View", 1), Event(anonymous("x"), "View", 1)])
    view = partition.capture()
    assert view.row_count == 2
    assert view.named_by(ANONYMOUS_ID).tolist() == [False, True]


def test_find_knows_rows_of_identifiers() -> None:
    partition = filled([Event(ANN, "View", 1), Event(anonymous("ann"), "View", 1)])
    wanted = [encode_identifier(*anonymous("ann")), encode_identifier(*ANN), encode_identifier(*BOB)]
    assert partition.locate(wanted)[1] == [1, 0, None]
    assert partition.locate([])[1] == []


def test_names_show_in_a_view_only_after_they_came() -> None:
    partition = filled([Event(ANN, "View", 1, {"a": 1}), Change(ANN, 1, {"b": 1})])
    before = partition.capture()
    partition.apply(batch_of([Event(ANN, "Buy", 1, {"c": 1}), Change(ANN, 1, {"d": 1})]), SequenceNumber(2))
    assert dict(before.schema.events) == {"View": 0}
    assert dict(before.schema.properties) == {"a": 0}
    assert dict(before.schema.attributes) == {"b": 0}
    assert dict(partition.capture().schema.events) == {"View": 0, "Buy": 1}


def test_one_property_keeps_each_of_its_types() -> None:
    values = [1, 1.0, True, "1", [1], strategies.MOMENT_VALUES[0]]
    partition = filled(Event(ANN, "View", ts, {"p": value}) for ts, value in enumerate(values))
    for _ in range(2):
        found = read_contents(partition.capture()).events["View"][ANN]
        assert found == [(ts, {"p": typed(value)}) for ts, value in enumerate(values)]
        partition.maintain(0)


def test_an_event_without_properties_and_a_change_without_attributes_count() -> None:
    partition = filled([Event(ANN, "View", 5), Change(BOB, 7)])
    contents = read_contents(partition.capture())
    assert contents.created == {ANN: 5, BOB: 7}
    assert contents.events == {"View": {ANN: [(5, {})]}}


def test_rows_beyond_one_morsel_are_kept_apart() -> None:
    count = 66_000
    partition = Partition(PartitionId(0), KEY)
    builder = BatchBuilder()
    for number in range(count):
        builder.add("user_id", str(number), "View", number % 7, {"n": number})
        builder.add("user_id", str(number), None, number % 7, {"n": number})
    partition.apply(builder.finish(), SequenceNumber(1))
    for _ in range(2):
        view = partition.capture()
        (chunk,) = view.event_chunks(0)
        column = chunk.columns[0, 2]
        assert (column.integers() == chunk.full_rows()).all()
        assert (chunk.full_times() == chunk.full_rows() % 7).all()
        assert chunk.events_of_row(65_999).stop == count
        reading = view.attributes[0]
        assert [reading.raw(row)[1] for row in (0, 65_535, 65_536, count - 1)] == [0, 65_535, 65_536, count - 1]
        partition.maintain(0)


def test_row_18_names_beyond_the_limit_are_rejected_record_by_record() -> None:
    partition = Partition(PartitionId(0), KEY)
    known = batch_of(Event(ANN, f"name {number}", number) for number in range(EVENT_NAMES_MAX))
    assert not partition.admit(known, partition.pending_ids()).rejections
    partition.apply(known, SequenceNumber(1))
    mixed = batch_of(
        [
            Event(ANN, "name 0", 1),
            Event(ANN, "one too many", 1, message_id="m"),
            Change(ANN, 1, {"a": 1}),
            Event(BOB, "one too many", 1),
        ]
    )
    admission = partition.admit(mixed, partition.pending_ids())
    assert [rejection.record for rejection in admission.rejections] == [1, 3]
    assert {rejection.code for rejection in admission.rejections} == {"EVENT_NAMES_LIMIT"}
    assert "one too many" in admission.rejections[0].message
    assert len(admission.batch) == 2
    partition.apply(admission.batch, SequenceNumber(2))
    assert len(partition.capture().schema.events) == EVENT_NAMES_MAX
    again = partition.admit(mixed, partition.pending_ids())
    assert again.duplicates == 0, "a rejected record is not remembered as taken"


def test_an_explosion_of_property_names_is_capped_record_by_record() -> None:
    partition = Partition(PartitionId(0), KEY)
    offered, taken = 20_000, 0
    for start in range(0, offered, 5_000):
        batch = batch_of(Event(ANN, "View", n, {f"key {n}": n, "known": n}) for n in range(start, start + 5_000))
        admission = partition.admit(batch, partition.pending_ids())
        assert {rejection.code for rejection in admission.rejections} <= {"PROPERTY_NAMES_LIMIT"}
        taken += len(admission.batch)
        partition.apply(admission.batch, SequenceNumber(start + 1))
    assert taken == PROPERTY_NAMES_MAX - 1
    assert len(partition.capture().schema.properties) == PROPERTY_NAMES_MAX
    assert "4096 names are known already" in admission.rejections[0].message
    again = batch_of([Event(BOB, "View", 1, {"known": "of another type", "key 7": True})])
    assert len(partition.admit(again, partition.pending_ids()).batch) == 1, "known names go on, whatever their type"


def test_status_counts() -> None:
    partition = filled(
        [Event(ANN, "View", 5), Event(BOB, "View", 6), Change(BOB, 7, {"a": 1}), Change(BOB, 8, {"a": 2})]
    )
    status = partition.status()
    assert (status.profiles, status.events, status.unsealed, status.sequence) == (2, 2, 3, 1)
    assert set(status.memory) >= {"identifiers", "events", "attributes", "history"}
    assert partition.maintain(0)
    assert partition.status().unsealed == 0
    assert not partition.maintain(0)


@pytest.mark.parametrize("delta_max", [1, 2, 3])
def test_maintain_leaves_a_small_tail_unsealed(delta_max: int) -> None:
    partition = filled([Event(ANN, "View", 5), Event(BOB, "View", 6)])
    assert partition.maintain(delta_max) == (delta_max < 2)
