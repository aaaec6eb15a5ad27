"""Restoring takes cold columns along, into any shape, and they stay erasable there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdp_router.cluster.partitioning import partitions_of
from cdp_router.restore.cluster_restore import Wanted
from cdp_store.directory.shard_directory import snapshots_path
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.records.records import Strings
from cdp_store.shard.store import Store
from cdp_store.snapshot.keeper import copy_snapshot
from cdp_store.snapshot.places import place_at
from tests.raw_records import Event, Record, User, user
from tests.router.restore.test_restoring import Data, opened, restored

PEOPLE = [user(f"person-{number}") for number in range(12)]
RECORDS: list[Record] = [Event(PEOPLE[n % 12], "View", n, {}, f"m{n}") for n in range(48)]


def messages(data: Data, who: User) -> list[str]:
    """Message ids of one person in order of arrival."""
    store, partition = home(data, who)
    return store.receipts(partition, [encode_identifier(*who)]).rows.column("message_id").to_pylist()


def home(data: Data, who: User) -> tuple[Store, PartitionId]:
    """Where a person lives."""
    table = Strings.of([encode_identifier(*who)])
    [number] = partitions_of(table, data.cluster.hash_key, data.cluster.partitions).tolist()
    return data.stores[data.cluster.first_shard_of_partition(number)], PartitionId(number)


@pytest.mark.parametrize(("shards", "partitions"), [(2, 4), (1, 4), (2, 3), (1, 1), (3, 9)])
@pytest.mark.parametrize("with_log", [True, False], ids=["snapshot and log", "copy"])
def test_a_restored_cluster_of_any_shape_has_the_cold_columns(
    tmp_path: Path, shards: int, partitions: int, with_log: bool
) -> None:
    source, gone = tmp_path / "source", PEOPLE[0]
    with opened(source) as data:
        for record in RECORDS[:20]:
            data.deliver([record])
        data.snapshot()
        for record in RECORDS[20:]:
            data.deliver([record])
        store, number = home(data, gone)
        store.erase(number, [encode_identifier(*gone)])
        if not with_log:
            data.snapshot()
            for shard, store in enumerate(data.stores):
                copy_snapshot(store.snapshot_place, place_at(str(tmp_path / "copy"), f"shard-{shard}/snapshots"), 2)
            place_at(str(tmp_path / "copy")).publish("cluster.json", (source / "cluster.json").read_bytes())
        before = {who: messages(data, who) for who in PEOPLE}
    assert before[gone] == []
    assert before[PEOPLE[5]] == ["m5", "m17", "m29", "m41"]
    restored(source if with_log else tmp_path / "copy", tmp_path / "new", Wanted(shards, partitions))
    with opened(tmp_path / "new", shards, partitions) as data:
        assert {who: messages(data, who) for who in PEOPLE} == before
        data.deliver([Event(PEOPLE[5], "View", 99, {}, "m99")])
        assert messages(data, PEOPLE[5]) == [*before[PEOPLE[5]], "m99"]
        # Sequence numbers of the old partitions may lie far behind those of the new one.
        store, number = home(data, PEOPLE[7])
        store.erase(number, [encode_identifier(*PEOPLE[7])])
        assert messages(data, PEOPLE[7]) == []
        for _ in range(2):
            data.snapshot()
        assert messages(data, PEOPLE[7]) == []
        assert messages(data, PEOPLE[5]) == [*before[PEOPLE[5]], "m99"]
    folders = [snapshots_path(path) for path in (tmp_path / "new").glob("shard-*")]
    assert not any(b"person-7" in path.read_bytes() for folder in folders for path in folder.iterdir())


def test_a_point_in_time_takes_the_cold_columns_up_to_it(tmp_path: Path) -> None:
    with opened(tmp_path / "source", 1, 1) as data:
        for number in range(4):
            data.deliver([Event(PEOPLE[0], "View", number, {}, f"m{number}")], received_ms=1000 + number)
            if number == 1:
                data.snapshot()
    restored(tmp_path / "source", tmp_path / "new", Wanted(until_ms=1002))
    with opened(tmp_path / "new", 1, 1) as data:
        assert messages(data, PEOPLE[0]) == ["m0", "m1", "m2"]
