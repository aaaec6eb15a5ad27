"""A restore to an instant before an erasure brings nobody back, whatever came in after it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cdp.v1 import admin_pb2

from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.erasure.begun_erasures import shared_erasures
from cdp_router.erasure.erasures import Erasures
from cdp_router.erasure.suppressions import lift, list_suppressions
from cdp_router.restore.cluster_restore import Wanted, restore
from tests.router.erasure.test_erasing import _lifting, erase, left_in_files, one_person_and_others
from tests.router.identity.test_moving import StoppingShard, rows
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, far_deadline, local_cluster, open_store

LATER = NOW_MS + 1000


def others_go_on(cluster: LocalCluster, batch_id: bytes = b"after") -> None:
    """Records of other people, received later, in every partition."""
    cluster.clock.now = LATER
    cluster.ingest(rows(*(["View", f"other-{n}", None, LATER, None, {}] for n in range(40)), batch_id=batch_id))


def restored(folder: Path, until_ms: int = NOW_MS, partitions: int | None = None) -> list[str]:
    """Restore `source` into `new`; what was told."""
    (folder / "source" / "cluster.json").write_bytes(msgspec.json.encode(CLUSTER))
    told = list[str]()
    wanted = Wanted(partitions=partitions, shards=1 if partitions else None, until_ms=until_ms)
    restore(str(folder / "source"), folder / "new", wanted, told.append, 0)
    return told


@pytest.mark.parametrize("goes_on", [False, True])
def test_who_was_erased_since_stays_erased(tmp_path: Path, goes_on: bool) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        one_person_and_others(cluster)
        if goes_on:
            others_go_on(cluster, b"before")
        erase(cluster, suppress=True)
        others_go_on(cluster)
    told = restored(tmp_path)
    assert any("not restored" in each for each in told) == goes_on, "else it was replayed in its turn"
    with local_cluster(tmp_path / "new") as cluster:
        assert cluster.members("everyone")[0] == [("user_id", "bob")]
        assert left_in_files(tmp_path / "new") == set()
        late = cluster.ingest(rows(["View", "ann-4711", None, NOW_MS, "m99", {}]))
        assert [each.code for each in late.errors] == ["IDENTIFIER_SUPPRESSED"]
        assert len(cluster.run(list_suppressions(cluster.routing, far_deadline())).suppressed) == 4
        assert cluster.query('did("View") and plan = "gold"').count == 1, "Bob, as he was"


def test_a_suppression_that_was_lifted_since_stays_lifted(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        one_person_and_others(cluster)
        erase(cluster, suppress=True)
        others_go_on(cluster)
        assert cluster.run(lift(_lifting("ann-4711"), cluster.routing, far_deadline())).lifted
    restored(tmp_path)
    with local_cluster(tmp_path / "new") as cluster:
        assert not cluster.ingest(rows(["View", "ann-4711", None, NOW_MS, "m99", {}])).errors
        assert len(cluster.run(list_suppressions(cluster.routing, far_deadline())).suppressed) == 3


def test_nobody_comes_back_into_another_number_of_partitions(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "source") as cluster:
        one_person_and_others(cluster)
        others_go_on(cluster, b"before")
        erase(cluster)
        others_go_on(cluster)
    restored(tmp_path, partitions=3)
    store = open_store(tmp_path / "new" / "shard-0", cluster=ClusterDirectory(tmp_path / "new").load())
    profiles = [each.status().profiles for each in store.partitions.values()]
    store.close()
    assert sum(profiles) == 1
    assert left_in_files(tmp_path / "new") == set()


def test_who_was_between_two_partitions_then_is_forgotten_on_arrival(tmp_path: Path) -> None:
    stopping = dict[int, StoppingShard]()
    with local_cluster(tmp_path / "source", lambda n, client: stopping.setdefault(n, StoppingShard(client))) as cluster:
        cluster.ingest(rows(*(["View", None, f"d{n}", NOW_MS - 9, None, {}] for n in range(6)), batch_id=b"1"))
        for shard in stopping.values():
            shard.left = 1  # profiles depart, and do not arrive
        cluster.ingest(rows(*(["View", f"u{n}", f"d{n}", NOW_MS, None, {}] for n in range(6)), batch_id=b"2"))
        others_go_on(cluster, b"before")
        for shard in stopping.values():
            shard.left = None
        for number in range(6):
            erased = cluster.run(_erase(cluster, f"u{number}"))
            assert erased.erased and erased.identifiers == 2
    restored(tmp_path)
    with local_cluster(tmp_path / "new") as cluster:
        assert len(cluster.run(shared_erasures(cluster.routing).newest(far_deadline())).erasures) == 6
        erasures = Erasures(cluster.routing)
        cluster.run(erasures.finish(far_deadline()))
        assert cluster.query("everyone").count == 0
        assert not any(
            partition.identity.is_due for server in cluster.servers for partition in server._store.partitions.values()
        )
        assert not cluster.run(shared_erasures(cluster.routing).newest(far_deadline())).erasures


async def _erase(cluster: LocalCluster, user: str) -> admin_pb2.EraseProfileResponse:
    return await Erasures(cluster.routing).erase(admin_pb2.EraseProfileRequest(user_id=user), far_deadline())
