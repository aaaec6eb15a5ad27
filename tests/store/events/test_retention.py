"""Retention drops whole buckets of the events a rule names, leaves summaries, and is the same after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdp_store.errors import BatchMalformed
from cdp_store.events.event_tables import prepare_compactions, prepare_seal
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.limits import BUCKET_MS, DAY_MS
from cdp_store.log.controls import (
    Erasure,
    Retention,
    decode_erasure,
    decode_retention,
    encode_erasure,
    encode_retention,
)
from cdp_store.memory.memory import PartitionMemory
from cdp_store.partition.partition import Partition
from cdp_store.shard.admission import Delivery
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store
from tests.raw_records import Change, Event, Record, user
from tests.router.local_cluster import open_store
from tests.shards import KEY, SMALL_LAYOUT, batch_of, filled
from tests.store.contents import check_same, expected_contents, read_contents, seal_all

ANN, BOB = user("ann"), user("bob")
OLD, NEW = 5, 8 * BUCKET_MS + 5
RECORDS: list[Record] = [
    *(Event(who, name, ts, {"n": ts}) for who in (ANN, BOB) for name in ("View", "Buy") for ts in (OLD, OLD + 1, NEW)),
    Change(ANN, 1, {"plan": "gold"}),
]


def kept(*names: str, cutoff: int) -> list[Record]:
    """The records that are left when events of these names before the cutoff are dropped."""
    return [r for r in RECORDS if not (isinstance(r, Event) and r.name in names and r.ts < cutoff)]


def check_events(partition: Partition, records: list[Record]) -> None:
    partition.validate()
    found, expected = read_contents(partition.capture()), expected_contents(records)
    found.created = expected.created = {}  # a profile stays as old as it was
    check_same(found, expected)


def memory_of(records: list[Record]) -> PartitionMemory:
    memory = PartitionMemory(KEY, SMALL_LAYOUT)
    memory.apply(batch_of(records), SequenceNumber(1))
    return memory


@pytest.mark.parametrize("sealed", [False, True])
def test_only_the_named_events_before_the_cutoff_go(sealed: bool) -> None:
    partition = filled(RECORDS)
    if sealed:
        partition.maintain(0, 2)
    before = partition.capture()
    partition.retain(Retention({}, {"View": BUCKET_MS, "Never seen": BUCKET_MS}), SequenceNumber(2))
    check_events(partition, kept("View", cutoff=BUCKET_MS))
    check_same(read_contents(before), expected_contents(RECORDS))
    (summary,) = partition.capture().summaries.values()
    assert summary.counts.tolist() == [2, 2]
    assert (summary.first_ms.tolist(), summary.last_ms.tolist()) == ([OLD] * 2, [OLD + 1] * 2)


def test_a_second_drop_adds_to_the_summary() -> None:
    partition = filled(RECORDS)
    partition.retain(Retention({}, {"View": BUCKET_MS}), SequenceNumber(2))
    partition.apply(batch_of([Event(ANN, "View", 3)]), SequenceNumber(3))
    partition.retain(Retention({}, {"View": 9 * BUCKET_MS}), SequenceNumber(4))
    (summary,) = partition.capture().summaries.values()
    assert (summary.counts.tolist(), summary.cutoff_ms) == ([4, 3], 9 * BUCKET_MS)
    assert (summary.first_ms.tolist(), summary.last_ms.tolist()) == ([3, OLD], [NEW, NEW])
    check_events(partition, kept("View", cutoff=9 * BUCKET_MS))


def test_a_purge_keeps_the_summaries_of_the_others() -> None:
    partition = filled(RECORDS)
    partition.retain(Retention({"": 9}, {"View": BUCKET_MS}), SequenceNumber(2))
    partition.erase([encode_identifier(*ANN)], SequenceNumber(3))
    partition.purge()
    (summary,) = partition.capture().summaries.values()
    assert (summary.rows.tolist(), summary.counts.tolist()) == ([0], [2])
    assert partition.retention_days() == {"": 9}
    check_events(partition, [r for r in kept("View", cutoff=BUCKET_MS) if r.user != ANN])


def test_strings_of_dropped_events_go_with_a_purge_and_others_keep_their_meaning() -> None:
    partition = Partition(PartitionId(0), KEY, SMALL_LAYOUT)
    old = [Event(ANN, "View", n, {"session": f"session {n}", "tags": [f"tag {n}"]}) for n in range(50)]
    new = [Event(BOB, "View", NEW, {"session": "session 7", "page": "\x003"}), Change(BOB, 1, {"plan": "gold"})]
    partition.apply(batch_of([*old, *new]), SequenceNumber(1))
    assert not partition.purge()
    for turn in range(2):
        partition.retain(Retention({}, {"View": BUCKET_MS}), SequenceNumber(2 + 2 * turn))
        assert partition.purge()
        assert not partition.purge()
        strings = partition.capture().strings(0, attribute=False).to_pylist()
        assert [text for text in strings if text.startswith(b"session")] == [b"session 7"]
        check_events(partition, new)
        again = Event(ANN, "View", 3, {"session": "\x0012", "tags": ["\x005"]})
        partition.apply(batch_of([again]), SequenceNumber(3 + 2 * turn))
        check_events(partition, [*new, again])


def test_a_seal_prepared_before_a_drop_does_not_bring_events_back_or_lose_any() -> None:
    memory = memory_of(RECORDS)
    prepared = prepare_seal(memory.events.capture())
    memory.retain(Retention({}, {"View": BUCKET_MS}), SequenceNumber(2))
    memory.events.install_seal(prepared)
    assert memory.events.counts()[0] == 8


@pytest.mark.parametrize("cutoff", [BUCKET_MS, 9 * BUCKET_MS])
def test_a_compaction_prepared_before_a_drop_does_not_bring_events_back_or_lose_any(cutoff: int) -> None:
    memory = memory_of(RECORDS)
    seal_all(memory)
    memory.apply(batch_of([Event(ANN, "View", NEW + 1)]), SequenceNumber(2))
    seal_all(memory)
    prepared = list(prepare_compactions(memory.events.capture(), 2))
    assert prepared
    memory.retain(Retention({}, {"View": cutoff}), SequenceNumber(3))
    expected = memory.events.counts()[0]
    assert expected == (9 if cutoff == BUCKET_MS else 6)
    for done in prepared:
        memory.events.install_compaction(done)
    assert memory.events.counts()[0] == expected


def test_rules_name_events_or_all_others_and_cut_at_whole_buckets() -> None:
    memory = memory_of(RECORDS)
    memory.retain(Retention({"": 30, "Buy": 0}, {}), SequenceNumber(2))
    assert memory.overdue(40 * DAY_MS) == {}, "the bucket is not wholly older than 30 days"
    assert memory.overdue(BUCKET_MS + 30 * DAY_MS - 1) == {}
    assert memory.overdue(BUCKET_MS + 30 * DAY_MS) == {"View": BUCKET_MS}, "a rule of its own comes first"
    memory.retain(Retention({"Buy": 29}, {}), SequenceNumber(3))
    assert memory.overdue(BUCKET_MS + 30 * DAY_MS) == {"View": BUCKET_MS, "Buy": BUCKET_MS}
    memory.retain(Retention({"": 0}, {}), SequenceNumber(4))
    assert memory.overdue(BUCKET_MS + 30 * DAY_MS) == {"Buy": BUCKET_MS}
    assert memory.retention_days == {"": 0, "Buy": 29}


def test_rules_drops_and_erasures_are_the_same_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.commit([Delivery(PartitionId(0), batch_of(RECORDS))])
    Retaining(store).set_retention({"View": 28}, 3 * BUCKET_MS)
    assert not Retaining(store).retain(3 * BUCKET_MS), "nothing is left to drop, and so nothing is logged"
    store.erase(PartitionId(0), [encode_identifier(*BOB)])
    expected = [r for r in kept("View", cutoff=2 * BUCKET_MS) if r.user != BOB]
    _check_store(store, expected)
    store.close()
    again = open_store(tmp_path)
    _check_store(again, expected)
    again.close()


def _check_store(store: Store, expected: list[Record]) -> None:
    partition = store.partitions[PartitionId(0)]
    check_events(partition, expected)
    assert partition.retention_days() == {"View": 28}
    assert partition.sequence == 4
    (summary,) = partition.capture().summaries.values()
    assert summary.counts.tolist() == [2, 2]


@pytest.mark.parametrize(
    "payload", [b"", b"\x80", b"\x81\xabidentifiers\x91\xa1x", encode_erasure(Erasure((b"nobody",)))]
)
def test_a_damaged_erasure_is_refused(payload: bytes) -> None:
    with pytest.raises(BatchMalformed):
        decode_erasure(payload)


@pytest.mark.parametrize(
    "retention", [Retention({"a": -1}, {}), Retention({"a": 400_000}, {}), Retention({}, {"a": 1 << 60})]
)
def test_a_damaged_retention_is_refused(retention: Retention) -> None:
    with pytest.raises(BatchMalformed):
        decode_retention(encode_retention(retention))
    good = Retention({"": 30}, {"a": -5})
    assert decode_retention(encode_retention(good)) == good
