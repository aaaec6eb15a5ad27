"""Forgetting people: everywhere, after any crash, with a receipt, and for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pyarrow.parquet as pq
import pytest
from cdp.v1 import admin_pb2, query_pb2, shard_pb2

from cdp_router.cluster.shard_methods import ERASE_PROFILES, UnaryMethod
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.deadline import Deadline
from cdp_router.erasure.begun_erasures import DOCUMENT
from cdp_router.erasure.erasures import Erasures
from cdp_router.erasure.suppressions import lift, list_suppressions
from cdp_router.errors import RequestInvalid, ShardUnavailable
from cdp_router.gateway.letters.dead_letters import DeadLetter, DeadLetters
from cdp_router.restore.cluster_restore import Wanted, restore
from cdp_store.ids import PartitionId
from cdp_store.shard.admission import Delivery
from tests.raw_records import Event, user
from tests.router.fake_shards import FailingShard, call_error
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import (
    CLUSTER,
    NOW_MS,
    FixedClock,
    LocalCluster,
    far_deadline,
    local_cluster,
    open_store,
)
from tests.shards import batch_of

SECRETS = (b"ann-4711", b"ann@secret", b"secret-device", b"secret-page", b"secret-plan", b"secret-list", b"secret-mail")


def erase(
    cluster: LocalCluster, kind: str = "user_id", value: str = "ann-4711", **options: bool
) -> admin_pb2.EraseProfileResponse:
    """Erase somebody."""
    request = admin_pb2.EraseProfileRequest(other=query_pb2.Identifier(kind=kind, value=value), **options)
    return cluster.run(Erasures(cluster.routing, FixedClock()).erase(request, far_deadline()))


def test_what_the_gateway_could_not_take_is_forgotten_too(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead-letters")
    sent = [{"userId": "ann-4711"}, {"anonymousId": "secret-device-0"}, {"userId": "bob"}]
    letters.add([DeadLetter("web", "segment", NOW_MS, None, "WRONG", "it is wrong", record) for record in sent])
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        request = admin_pb2.EraseProfileRequest(other=query_pb2.Identifier(kind="user_id", value="ann-4711"))
        receipt = cluster.run(Erasures(cluster.routing, FixedClock(), letters).erase(request, far_deadline()))
    assert receipt.dead_letters == 2
    assert [each.record for each in letters.letters(tmp_path / "dead-letters" / "web")] == [{"userId": "bob"}]


def one_person_and_others(cluster: LocalCluster) -> None:
    """Ann, known by four identifiers on several partitions, and people she has nothing to do with."""
    cluster.ingest(rows(
        ["View", None, "secret-device-0", NOW_MS - 90, "m0", {"page": "secret-page", "tags": ["secret-list"]}],
        ["View", None, "secret-device-1", NOW_MS - 90, "m1", {"page": "home"}],
        [None, None, "secret-device-1", NOW_MS - 85, "m2", {"plan": "secret-plan"}],
        ["View", "bob", "d9", NOW_MS - 90, "m3", {"page": "home"}],
        [None, "bob", None, NOW_MS - 90, "m4", {"plan": "gold", "friend": "ann"}], batch_id=b"1",
    ))  # fmt: skip
    cluster.ingest(rows(
        ["Buy", "ann-4711", "secret-device-0", NOW_MS - 60, "m6", {}, {"email": "ann@secret"}],
        [None, "ann-4711", None, NOW_MS - 55, "m7", {"mail": "secret-mail", "plan": "gold"}], batch_id=b"2",
    ))  # fmt: skip
    cluster.ingest(
        rows(["View", None, "secret-device-1", NOW_MS - 50, "m8", {}, {"email": "ann@secret"}], batch_id=b"3")
    )


def left_in_files(folder: Path) -> set[bytes]:
    """The secrets that stand in any file; tables are decoded too, since their texts are compressed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    tables = [repr(pq.read_table(path).to_pylist()).encode() for path in files if path.suffix == ".parquet"]
    contents = [*tables, *(path.read_bytes() for path in files)]
    return {secret for secret in SECRETS for content in contents if secret in content}


def left_in_memory(cluster: LocalCluster) -> set[bytes]:
    """The secrets that stand in any text of any partition."""
    partitions = [partition for server in cluster.servers for partition in server._store.partitions.values()]
    texts = [partition.texts() for partition in partitions]
    data = [data for each in texts for _, data in (*each.identifiers.values(), *each.values)]
    return {secret for secret in SECRETS for each in data if secret in each.tobytes()}


def snapshot(cluster: LocalCluster) -> None:
    """Have every shard write a snapshot."""
    for server in cluster.servers:
        cluster.run(server.take_snapshot(shard_pb2.TakeSnapshotRequest()))


def test_a_receipt_tells_what_was_erased_and_that_nothing_is_left(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        before = erase(cluster, value="nobody")
        assert not before.erased and not before.partitions and before.identifiers == 1
        receipt = erase(cluster, "anonymous_id", "secret-device-1")
        assert receipt.erased and receipt.identifiers == 4
        assert receipt.time.ToMilliseconds() == NOW_MS
        assert sum(each.events for each in receipt.partitions) == 4
        assert sum(each.changes for each in receipt.partitions) == 3
        assert sum(each.profiles for each in receipt.partitions) == 1
        assert sum(each.bindings for each in receipt.partitions) >= 3
        assert [scan.shard for scan in receipt.scans] == [0, 1]
        for scan in receipt.scans:
            assert scan.structures > 0 and scan.bytes > 0 and scan.files == 0 and not scan.found
        for partition in receipt.partitions:
            held = cluster.servers[partition.partition % 2]._store.partitions[partition.partition]
            assert held.sequence == partition.sequence
        again = erase(cluster)
        assert not again.erased and not again.partitions and not any(scan.found for scan in again.scans)
        assert cluster.members("everyone")[0] == [("user_id", "bob")]


@pytest.mark.parametrize("is_snapshot", [False, True])
def test_after_a_purge_no_byte_is_left_in_memory_or_files(tmp_path: Path, is_snapshot: bool) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        if is_snapshot:
            cluster.seal()
            snapshot(cluster)
        assert left_in_files(tmp_path) and left_in_memory(cluster)
        receipt = erase(cluster, "email", "ann@secret", purge=True, suppress=True)
        assert left_in_files(tmp_path) == left_in_memory(cluster) == set()
        assert [purge.shard for purge in receipt.purges] == [0, 1]
        assert all(scan.files > 0 and not scan.found for scan in receipt.scans)
        assert receipt.suppressed == 4
        assert cluster.query('did("View") and plan = "gold"').count == 1
    with local_cluster(tmp_path) as cluster:
        late = cluster.ingest(rows(["View", "ann-4711", "d9", NOW_MS, "m20", {"page": "x"}]))
        assert [error.code for error in late.errors] == ["IDENTIFIER_SUPPRESSED"]
        assert left_in_files(tmp_path) == left_in_memory(cluster) == set()


def test_the_scan_finds_what_an_erasure_would_have_left(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        cluster.seal()
        for is_snapshot in (False, True):
            if is_snapshot:
                snapshot(cluster)
            found = set[str]()
            for server in cluster.servers:
                order = shard_pb2.ScanForIdentifiersRequest(
                    cluster=CLUSTER.cluster,
                    identifiers=[query_pb2.Identifier(kind="email", value="ann@secret")],
                    with_files=True,
                )
                found |= set(cluster.run(server.erasing.scan(order)).scan.found)
            assert any(place.endswith("links") for place in found)
            assert any(place.endswith(".cdplog") for place in found)
            assert any(place.endswith(".parquet") for place in found) == is_snapshot
            nobody = shard_pb2.ScanForIdentifiersRequest(
                cluster=CLUSTER.cluster,
                identifiers=[query_pb2.Identifier(kind="user_id", value="ann-471")],
                with_files=True,
            )
            assert not cluster.run(cluster.servers[0].erasing.scan(nobody)).scan.found, "only whole identifiers count"


class EraseStopsAt(FailingShard):
    """Takes some erasures and then none."""

    left = 1 << 30

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is ERASE_PROFILES:
            if EraseStopsAt.left == 0:
                raise call_error(grpc.StatusCode.UNAVAILABLE)
            EraseStopsAt.left -= 1
        return await super().call(method, request, deadline)


@pytest.mark.parametrize(
    "by", [pytest.param("asking again", marks=pytest.mark.long), "by another identifier", "by itself"]
)
def test_an_erasure_stopped_between_any_two_parts_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    steps, finished = 0, False
    while not finished:
        folder = tmp_path / str(steps)
        with local_cluster(folder, lambda _, client: EraseStopsAt(client)) as cluster:
            one_person_and_others(cluster)
            monkeypatch.setattr(EraseStopsAt, "left", steps)
            try:
                erase(cluster, "email", "ann@secret", suppress=True)
                finished = True
            except ShardUnavailable:
                pass
            monkeypatch.setattr(EraseStopsAt, "left", 1 << 30)
        with local_cluster(folder) as cluster:
            if by == "by itself":
                cluster.run(Erasures(cluster.routing).finish(far_deadline()))
            elif not finished:
                again = ("email", "ann@secret") if by == "asking again" else ("anonymous_id", "secret-device-1")
                assert erase(cluster, *again).suppressed == 0, "it was not asked for again"
            assert cluster.members("everyone")[0] == [("user_id", "bob")]
            assert len(cluster.run(list_suppressions(cluster.routing, far_deadline())).suppressed) == 4
            erase(cluster, value="nobody", purge=True)
            assert left_in_files(folder) == left_in_memory(cluster) == set()
            assert b'"erasures":{}' in cluster.servers[0]._store.documents.of(PartitionId(0))[DOCUMENT].content
        steps += 1
    assert steps > 2, "or nothing was interrupted"


def _restarted(folder: Path) -> None:
    with local_cluster(folder):
        pass


def _from_snapshots(folder: Path) -> None:
    with local_cluster(folder) as cluster:
        snapshot(cluster)
    with local_cluster(folder) as cluster:
        snapshot(cluster)


@pytest.mark.parametrize("meanwhile", [_restarted, _from_snapshots])
def test_nothing_comes_in_under_what_is_suppressed_until_it_is_lifted(
    tmp_path: Path, meanwhile: Callable[[Path], None]
) -> None:
    with local_cluster(tmp_path) as cluster:
        one_person_and_others(cluster)
        assert erase(cluster, suppress=True).suppressed == 4
    meanwhile(tmp_path)
    late = rows(
        ["View", "ann-4711", None, NOW_MS - 9, "m10", {}],
        ["View", "bob", "secret-device-1", NOW_MS - 8, "m11", {"n": 1}],  # bob's; the device is not remembered
        ["View", None, "secret-device-0", NOW_MS - 7, "m12", {}],
        ["View", "cid", None, NOW_MS - 6, "m13", {}, {"email": "ann@secret"}], batch_id=b"late",
    )  # fmt: skip
    with local_cluster(tmp_path) as cluster:
        result = cluster.ingest(late)
        assert [(error.index, error.code) for error in result.errors] == [
            (0, "IDENTIFIER_SUPPRESSED"), (2, "IDENTIFIER_SUPPRESSED"),
        ]  # fmt: skip
        assert result.accepted == 2
        assert cluster.members("everyone")[0] == [("user_id", "bob"), ("user_id", "cid")]
        assert left_in_memory(cluster) - {b"secret-page", b"secret-list", b"secret-plan", b"secret-mail"} == set()
        listed = cluster.run(list_suppressions(cluster.routing, far_deadline())).suppressed
        assert len(listed) == 4 and all(len(each.fingerprint) == 32 for each in listed)
        assert cluster.run(lift(_lifting("ann-4711"), cluster.routing, far_deadline())).lifted
        assert not cluster.run(lift(_lifting("ann-4711"), cluster.routing, far_deadline())).lifted
        cluster.ingest(rows(["View", "ann-4711", None, NOW_MS - 5, "m14", {}], batch_id=b"5"))
        assert ("user_id", "ann-4711") in cluster.members("everyone")[0]
        [*rest] = cluster.run(list_suppressions(cluster.routing, far_deadline())).suppressed
        for each in rest:
            by_hash = admin_pb2.LiftSuppressionRequest(fingerprint=each.fingerprint)
            assert cluster.run(lift(by_hash, cluster.routing, far_deadline())).lifted
        assert not cluster.run(list_suppressions(cluster.routing, far_deadline())).suppressed
        with pytest.raises(RequestInvalid, match="32 hexadecimal"):
            cluster.run(lift(admin_pb2.LiftSuppressionRequest(fingerprint="xyz"), cluster.routing, far_deadline()))


def _lifting(value: str) -> admin_pb2.LiftSuppressionRequest:
    return admin_pb2.LiftSuppressionRequest(identifier=query_pb2.Identifier(kind="user_id", value=value))


def test_suppressions_come_along_into_another_number_of_partitions(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with local_cluster(source) as cluster:
        one_person_and_others(cluster)
        erase(cluster, suppress=True)
    (source / "cluster.json").write_bytes(msgspec.json.encode(CLUSTER))
    restore(str(source), tmp_path / "new", Wanted(shards=1, partitions=3), lambda _: None, 0)
    made = ClusterDirectory(tmp_path / "new").load()
    store = open_store(tmp_path / "new" / "shard-0", cluster=made)
    refused = 0
    for number in store.partitions:
        [outcome] = store.commit([Delivery(number, batch_of([Event(user("ann-4711"), "View", NOW_MS)]))])
        refused += len(outcome.rejections)
    store.close()
    assert refused == 3
