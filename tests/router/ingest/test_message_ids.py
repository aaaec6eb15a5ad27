"""A message id counts for the identifier that names its record: in every number of partitions, and across links."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cdp.v1 import ingest_pb2, shard_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.topology import ClusterDirectory, ClusterFile
from cdp_router.errors import ShardUnavailable
from cdp_router.restore.cluster_restore import Wanted, restore
from tests.arrivals import of, unlink
from tests.raw_records import anonymous, user
from tests.router.identity.test_moving import StoppingShard, rows
from tests.router.local_cluster import KEY, NOW_MS, LocalCluster, local_cluster

T = NOW_MS - 1000
GOLDEN = Path(__file__).parents[2] / "store" / "golden" / "data-3"
GOLDEN_DIGEST = "f86c6ffcabe820e97d7db1a6b822335d"  # as the version that wrote it told


def same_id(users: range, batch_id: bytes, message_id: str = "one") -> ingest_pb2.Batch:
    """An event of each user, all under one message id."""
    return rows(*(["Ping", f"u{n}", None, T, message_id, {}] for n in users), batch_id=batch_id)


def told(result: ingest_pb2.BatchResult) -> tuple[int, int]:
    """(accepted, duplicates)."""
    assert not result.errors
    return result.accepted, result.duplicates


def take_snapshots(cluster: LocalCluster) -> None:
    """Of all shards."""
    for server in cluster.servers:
        cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))


@pytest.mark.parametrize("partitions", [1, 4, 16])
def test_twenty_users_with_one_message_id_sent_twenty_records(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        assert told(cluster.ingest(same_id(range(12), b"1"))) == (12, 0)
        assert told(cluster.ingest(same_id(range(20), b"2"))) == (8, 12)
        twice = rows(*[["Ping", "late", None, T, "one", {}]] * 2, batch_id=b"3")
        assert told(cluster.ingest(twice)) == (1, 1), "one record, twice in a batch"
        take_snapshots(cluster)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        assert told(cluster.ingest(same_id(range(20), b"4"))) == (0, 20)
        assert cluster.query('count("Ping") = 1').count == 21


def test_links_neither_forget_nor_join_the_ids_of_identifiers(tmp_path: Path) -> None:
    device, ann = rows(["View", None, "d", T, "1", {}], batch_id=b"1"), rows(["View", "ann", None, T, "1", {}])
    with local_cluster(tmp_path) as cluster:
        assert told(cluster.ingest(device)) == (1, 0)
        assert told(cluster.ingest(rows(["Login", "ann", "d", T + 1, "2", {}], batch_id=b"2"))) == (1, 0)
        assert told(cluster.ingest(ann)) == (1, 0), "Ann numbers her own records"
        assert cluster.query('count("View") = 2').count == 1
    with local_cluster(tmp_path) as cluster:
        for batch in (device, ann):
            batch.batch_id = batch.batch_id + b" again"
            assert told(cluster.ingest(batch)) == (0, 1)
        unlink(cluster, anonymous("d"), user("ann"))
        for batch in (device, ann):
            batch.batch_id = batch.batch_id + b" again"
            assert told(cluster.ingest(batch)) == (0, 1)
        assert cluster.query('count("View") = 1').count == 2


def test_operations_of_linked_identifiers_keep_each_its_own_ids(tmp_path: Path) -> None:
    def operation(who: tuple[str | None, str | None], message_id: str, batch_id: bytes) -> ingest_pb2.Batch:
        return rows([None, *who, T + 5, message_id, {}, {}, {"increment": {"visits": 1}}], batch_id=batch_id)

    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(["Login", "ann", "d", T, "0", {}], ["Login", "ann", "e", T, "0e", {}]))
        for number, who in enumerate([("ann", None), (None, "d"), (None, "e")] * 2):
            result = cluster.ingest(operation(who, "1", b"op %d" % number))
            assert told(result) == ((1, 0) if number < 3 else (0, 1)), who
            partitions = [each.partition for each in result.positions]
            assert len(partitions) == len(set(partitions)), "one position a partition"
        assert cluster.query("visits = 3").count == 1
        take_snapshots(cluster)
        assert told(cluster.ingest(operation((None, "d"), "2", b"new"))) == (1, 0)
    with local_cluster(tmp_path) as cluster:
        for number, who in enumerate([("ann", None), (None, "d"), (None, "e")]):
            assert told(cluster.ingest(operation(who, "1", b"late %d" % number))) == (0, 1)
        assert told(cluster.ingest(operation((None, "d"), "2", b"later"))) == (0, 1)
        assert cluster.query("visits = 4").count == 1


AFTERWARDS = {
    "taken apart": lambda cluster: unlink(cluster, anonymous("d"), user("ann")),
    "an earlier user": lambda cluster: cluster.ingest(rows(["Login", "bob", "d", T + 1, "0", {}], batch_id=b"bob")),
    "an address": lambda cluster: cluster.ingest(
        rows([None, "zoe", None, T, "0", {}, {"email": "z@x.org"}],
             [None, "ann", None, T, "1", {}, {"email": "z@x.org"}], batch_id=b"zoe")
    ),
}  # fmt: skip


def visits(cluster: LocalCluster) -> int:
    """Of everybody."""
    return sum(number * cluster.query(f"visits = {number}").count for number in range(1, 9))


@pytest.mark.parametrize("partitions", [1, 4, 16])
@pytest.mark.parametrize("change", AFTERWARDS)
@pytest.mark.parametrize("is_snapshot", [False, True])
def test_an_operation_done_for_one_owner_is_not_done_for_the_next(
    tmp_path: Path, partitions: int, change: str, is_snapshot: bool
) -> None:
    def operation(batch_id: bytes) -> ingest_pb2.Batch:
        return rows(
            *([None, None, "d", T + 5, f"m{n}", {}, {}, {"increment": {"visits": 1}}] for n in range(3)),
            batch_id=batch_id,
        )

    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(["Login", "ann", "d", T + 3, "0", {}], batch_id=b"1"))
        assert told(cluster.ingest(operation(b"2"))) == (3, 0)
        if is_snapshot:
            take_snapshots(cluster)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        AFTERWARDS[change](cluster)
        for batch_id in (b"2", b"3"):
            assert told(cluster.ingest(operation(batch_id))) == (0, 3)
        assert visits(cluster) == 3


def test_an_operation_follows_a_device_from_an_address_to_its_user_once(tmp_path: Path) -> None:
    operation = [None, None, "d", T + 5, "1", {}, {}, {"increment": {"visits": 1}}]
    with local_cluster(tmp_path, cluster=of(16)) as cluster:
        cluster.ingest(rows([None, None, "d", T, "0", {}, {"email": "a@x.org"}], batch_id=b"1"))
        assert told(cluster.ingest(rows(operation, batch_id=b"2"))) == (1, 0)
        cluster.ingest(rows([None, "ann", None, T + 1, "0", {}, {"email": "a@x.org"}], batch_id=b"3"))
        assert told(cluster.ingest(rows(operation, batch_id=b"4"))) == (0, 1)
        assert cluster.query("visits = 1").count == 1 == visits(cluster)


def test_an_operation_that_was_not_acked_since_its_home_was_not_told_is_done_once(tmp_path: Path) -> None:
    stopping = dict[int, StoppingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return stopping.setdefault(number, StoppingShard(client))

    operation = [None, None, "d", T + 5, "1", {}, {}, {"increment": {"visits": 1}}]
    with local_cluster(tmp_path, wrap, cluster=of(16)) as cluster:
        cluster.ingest(rows(["Login", "ann", "d", T + 3, "0", {}], batch_id=b"1"))
        stopping[0].left = 0
        with pytest.raises(ShardUnavailable):
            cluster.ingest(rows(operation, batch_id=b"2"))
        stopping[0].left = None
        assert told(cluster.ingest(rows(operation, batch_id=b"2"))) == (0, 1)
        unlink(cluster, anonymous("d"), user("ann"))
        assert told(cluster.ingest(rows(operation, batch_id=b"2"))) == (0, 1)
        assert visits(cluster) == 1


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_result_says_the_position_of_each_partition_once(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(["Login", "ann", "d", T, "0", {}]))
        both = [["View", "ann", None, T, "1", {}], [None, None, "d", T, "2", {}, {}, {"increment": {"visits": 1}}]]
        result = cluster.ingest(rows(*both, batch_id=b"2"))
        assert told(result) == (2, 0)
        said = {each.partition: each.sequence for each in result.positions}
        assert len(said) == len(result.positions)
        held = {n: each.sequence for server in cluster.servers for n, each in server._store.partitions.items()}
        assert all(said[number] <= held[number] for number in said)
        assert said[cluster.profile(user_id="ann").partition] == held[cluster.profile(user_id="ann").partition]


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_ids_come_along_into_another_number_of_partitions(tmp_path: Path, partitions: int) -> None:
    source, made = tmp_path / "source", of(4)
    with local_cluster(source, cluster=made) as cluster:
        cluster.ingest(same_id(range(9), b"1"))
        cluster.ingest(rows(["Login", "u0", "d", T, "one", {}], ["View", None, "d", T, "one", {}], batch_id=b"2"))
    (source / "cluster.json").write_bytes(msgspec.json.encode(made))
    restore(str(source), tmp_path / "new", Wanted(shards=1, partitions=partitions), lambda _: None, NOW_MS)
    with _restored(tmp_path / "new") as cluster:
        assert told(cluster.ingest(same_id(range(10), b"3"))) == (1, 9)
        again = rows(["Login", "u0", "d", T, "one", {}], ["View", None, "d", T, "one", {}], batch_id=b"4")
        assert told(cluster.ingest(again)) == (0, 2)


def _restored(directory: Path) -> Any:
    return local_cluster(directory, cluster=ClusterDirectory(directory).load())


def _golden(tmp_path: Path) -> tuple[Path, ClusterFile]:
    directory = tmp_path / "golden"
    shutil.copytree(GOLDEN, directory)
    return directory, ClusterFile("cluster-one", 2, 1, KEY)


OLD = [["Visit", f"u{n}", None, T, f"m{n}", {}] for n in range(4)] + [
    ["Visit", None, f"d{n}", T, f"n{n}", {}] for n in range(4)
]


def test_what_an_older_version_took_is_known_and_its_ids_alone_age_out(tmp_path: Path) -> None:
    directory, cluster_file = _golden(tmp_path)
    for turn in range(3):  # from the older version's snapshot, from one that was written since, and from its copy
        with local_cluster(directory, cluster=cluster_file) as cluster:
            assert told(cluster.ingest(rows(*OLD, batch_id=b"old %d" % turn))) == (0, 8)
            gone = rows(["Visit", "gone", None, T, "erased", {}], batch_id=b"g%d" % turn)
            assert told(cluster.ingest(gone)) == (0, 1)
            assert told(cluster.ingest(rows(["Visit", "u0", None, T, "new", {}], batch_id=b"n%d" % turn))) == (
                (1, 0) if turn == 0 else (0, 1)
            )
            assert told(cluster.ingest(same_id(range(10, 20), b"%d" % turn))) == ((10, 0) if turn == 0 else (0, 10))
            take_snapshots(cluster)
            kept = [
                [generation.of_identifiers for generation in partition.export().ids]
                for server in cluster.servers
                for partition in server._store.partitions.values()
            ]
            assert all(each == [False, True] for each in kept)


@pytest.mark.parametrize("partitions", [1, 3])
def test_ids_of_an_older_version_are_known_by_their_identifiers_after_a_restore(
    tmp_path: Path, partitions: int
) -> None:
    directory, _ = _golden(tmp_path)
    made = restore(str(directory), tmp_path / "new", Wanted(shards=1, partitions=partitions), lambda _: None, NOW_MS)
    assert str(made.digest) == GOLDEN_DIGEST
    with _restored(tmp_path / "new") as cluster:
        assert told(cluster.ingest(rows(*OLD, batch_id=b"old"))) == (0, 8)
        assert told(cluster.ingest(rows(["Visit", "gone", None, T, "erased", {}], batch_id=b"gone"))) == (0, 1)
        others = rows(*(["Visit", f"other{n}", None, T, f"m{n}", {}] for n in range(4)), batch_id=b"others")
        assert told(cluster.ingest(others)) == (4, 0)


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_each_pair_of_identifier_and_id_is_one_record(tmp_path_factory: Any, data: st.DataObject) -> None:
    sent, events = set[tuple[Any, ...]](), Counter[str]()
    with local_cluster(tmp_path_factory.mktemp("pairs"), cluster=of(data.draw(st.sampled_from([1, 2, 5])))) as cluster:
        for turn in range(data.draw(st.integers(1, 6))):
            packed, expected = [], 0
            for _ in range(data.draw(st.integers(1, 8))):
                named = data.draw(
                    st.sampled_from([("a", None), ("b", None), (None, "d"), (None, "e"), ("a", "d"), ("b", "e")])
                )
                message_id = data.draw(st.sampled_from(["1", "2", "3"]))
                packed.append(["View", *named, T + turn, message_id, {}])
                pair = named[0] or named, message_id
                if pair not in sent:
                    sent.add(pair)
                    expected += 1
                    events["all"] += 1
            result = cluster.ingest(rows(*packed, batch_id=b"%d" % turn))
            assert told(result) == (expected, len(packed) - expected)
        counts = [cluster.query(f'count("View") >= {least}').count for least in range(1, events["all"] + 1)]
        assert sum(counts) == events["all"]
