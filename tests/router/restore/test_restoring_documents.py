"""What is kept with partitions comes along in restores, and routers go on with what was restored."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cdp_query.language import parse
from cdp_query.pipeline import segment_of
from cdp_router.cluster.placement import newest_epoch
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.topology import ClusterDirectory, ClusterFile
from cdp_router.errors import RouterError
from cdp_router.questions.shared_segments import SharedSegments
from cdp_router.restore.cluster_restore import Restored, Wanted, restore
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.moves.director import Director
from cdp_router.shard.server import ShardServer
from cdp_store.directory.documents import Document
from cdp_store.errors import DocumentsNotDealtOut
from cdp_store.ids import PartitionId
from cdp_store.snapshot.keeper import copy_snapshot
from cdp_store.snapshot.places import place_at
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, far_deadline, local_cluster, open_store

OTHERS = Document(3, b"of partition three")


def change(cluster: LocalCluster, segments: SharedSegments, text: str) -> None:
    segment = segment_of(parse(text))
    cluster.run(segments.change(lambda known: known.create("vip", segment, "", NOW_MS), far_deadline()))


def texts(cluster: LocalCluster, segments: SharedSegments) -> list[tuple[int, str]]:
    newest = cluster.run(segments.newest(far_deadline())).newest()
    return [(each.definition.version, repr(each.definition.segment)) for each in newest]


def fill(cluster: LocalCluster, folder: Path) -> None:
    """Records, a segment, and a document of another partition; snapshots of all."""
    (folder / "cluster.json").write_bytes(msgspec.json.encode(CLUSTER))
    cluster.ingest(protobuf_batch([Sent("View", f"u{n}", NOW_MS, {}) for n in range(20)]))
    change(cluster, SharedSegments(cluster.routing), "a = 1")
    cluster.servers[1]._store.documents.replace(PartitionId(3), {"other": OTHERS})
    for server in cluster.servers:
        server._store.snapshot(0)


def copied(source: Path, target: Path) -> Path:
    """A copy as `cdp snapshot --to` makes it."""
    for shard in range(CLUSTER.shards):
        end = f"shard-{shard}/snapshots"
        copy_snapshot(place_at(str(source / end)), place_at(str(target / end)), 1)
    place_at(str(target)).publish("cluster.json", (source / "cluster.json").read_bytes())
    return target


def restored(source: Path, data: Path, wanted: Wanted = Wanted()) -> Restored:
    return restore(str(source), data, wanted, lambda line: None, 1000 * 1_800_000_000)


def documents_in_stores(data: Path, cluster: ClusterFile) -> dict[int, dict[str, Document]]:
    found = dict[int, dict[str, Document]]()
    for shard in range(cluster.shards):
        store = open_store(ClusterDirectory(data).shard_path(shard), shard, cluster=cluster)
        found |= {number: dict(each) for number in store.partitions if (each := store.documents.of(number))}
        store.close()
    return found


@pytest.mark.parametrize("with_log", [True, False], ids=["data directory", "copy"])
@pytest.mark.parametrize("wanted", [Wanted(), Wanted(shards=4), Wanted(shards=1), Wanted(only=frozenset([3]))])
def test_documents_come_along(tmp_path: Path, wanted: Wanted, with_log: bool) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        fill(cluster, tmp_path / "source")
        kept = dict(cluster.servers[0]._store.documents.of(PartitionId(0)))
    source = tmp_path / "source" if with_log else copied(tmp_path / "source", tmp_path / "copy")
    made = restored(source, tmp_path / "new", wanted).cluster
    assert documents_in_stores(tmp_path / "new", made) == {0: kept, 3: {"other": OTHERS}}
    # Also into a copy of the copy: the first snapshot of the new directory has them.
    again = restored(tmp_path / "new", tmp_path / "newer").cluster
    assert documents_in_stores(tmp_path / "newer", again) == {0: kept, 3: {"other": OTHERS}}


def test_a_data_directory_gives_what_is_newer_than_its_snapshots(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        fill(cluster, tmp_path / "source")
        cluster.servers[1]._store.documents.put(PartitionId(3), "other", 3, b"newer")
    restored(tmp_path / "source", tmp_path / "new", Wanted(until_ms=0))
    assert documents_in_stores(tmp_path / "new", CLUSTER)[3] == {"other": Document(4, b"newer")}


def test_the_clusters_documents_come_along_into_other_partitions_and_those_of_a_partition_are_not_lost(
    tmp_path: Path,
) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        fill(cluster, tmp_path / "source")
        kept = dict(cluster.servers[0]._store.documents.of(PartitionId(0)))
        with pytest.raises(DocumentsNotDealtOut, match="partition 3 keeps other"):
            restored(tmp_path / "source", tmp_path / "new", Wanted(partitions=3))
        cluster.servers[1]._store.documents.replace(PartitionId(3), {})
    made = restored(tmp_path / "source", tmp_path / "new", Wanted(partitions=3)).cluster
    assert documents_in_stores(tmp_path / "new", made) == {0: kept}


def test_documents_that_did_not_change_are_shared_by_snapshots(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        fill(cluster, tmp_path)
        store = cluster.servers[1]._store
        assert store.snapshot(0)[0].files_written == 0
        store.documents.put(PartitionId(3), "other", 3, b"newer")
        assert store.snapshot(0)[0].files_written == 1
        assert store.verify_snapshots().problems == []


def served(cluster: LocalCluster, data: Path, made: ClusterFile) -> dict[int, LocalShardClient]:
    """Clients of the shards of a restored directory, on the cluster's loop."""
    stores = [open_store(ClusterDirectory(data).shard_path(n), n, cluster=made) for n in range(made.shards)]
    servers = [ShardServer(store, cluster.failures.append) for store in stores]
    cluster.servers += servers
    return {number: LocalShardClient(server, f"restored:{number}") for number, server in enumerate(servers)}


@pytest.mark.parametrize("shards", [2, 4])
def test_a_router_goes_on_with_a_restored_cluster(tmp_path: Path, shards: int) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        fill(cluster, tmp_path / "source")
        copy = copied(tmp_path / "source", tmp_path / "copy")
        segments = SharedSegments(cluster.routing)
        change(cluster, segments, "a = 2")
        change(cluster, segments, "a = 3")
        cluster.ingest(protobuf_batch([Sent("View", "later", NOW_MS, {})], b"later"))
        assert cluster.query('did("View")').count == 21 and texts(cluster, segments)[0][0] == 3
        made = restored(copy, tmp_path / "new", Wanted(shards=shards)).cluster
        cluster.routing.shards = dict(served(cluster, tmp_path / "new", made))
        if shards != CLUSTER.shards:  # a shard that never had a partition cannot say who has it
            cluster.run(Director(cluster.routing).look())
        fresh = SharedSegments(Routing(made, cluster.routing.shards))
        assert texts(cluster, segments) == texts(cluster, fresh) != []
        assert cluster.query('did("View")').count == 20
        cluster.ingest(protobuf_batch([Sent("View", "later", NOW_MS, {})], b"later"))
        assert cluster.query('did("View")').count == 21
        change(cluster, segments, "a = 4")
        assert texts(cluster, fresh) == texts(cluster, segments) and texts(cluster, fresh)[0][0] == 2


@pytest.mark.parametrize("damaged", ["holdings.json", "identity.json"])
def test_epochs_go_on_behind_those_of_what_is_replaced_unless_that_is_damaged(tmp_path: Path, damaged: str) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        fill(cluster, tmp_path / "source")
    restored(tmp_path / "source", tmp_path / "data")
    first = newest_epoch(tmp_path / "data")
    assert first > 1
    again = restore(str(tmp_path / "source"), tmp_path / "data", Wanted(), lambda line: None, 0, overwrite=True)
    assert again.replaced is not None and newest_epoch(tmp_path / "data") == first + 1, "the clock stood at 1970"
    (tmp_path / "data" / "shard-0" / damaged).write_bytes(b"{")
    last = restore(str(tmp_path / "source"), tmp_path / "data", Wanted(), lambda line: None, 0, overwrite=True)
    assert last.replaced is not None and newest_epoch(tmp_path / "data") == first + 2


def test_a_router_of_before_does_not_deal_records_out_to_another_number_of_partitions(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        fill(cluster, tmp_path / "source")
        cluster.servers[1]._store.documents.replace(PartitionId(3), {})
        made = restored(tmp_path / "source", tmp_path / "new", Wanted(partitions=9)).cluster
        cluster.routing.shards = dict(served(cluster, tmp_path / "new", made))
        with pytest.raises(RouterError, match="cluster"):
            cluster.query('did("View")')
