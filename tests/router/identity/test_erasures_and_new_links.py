"""An erasure between a record and the link that it states: of the person nothing stays, nor does it come afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import admin_pb2, query_pb2

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, ERASE_PROFILES, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import ShardUnavailable
from cdp_router.identity.identities import Identities, Named
from cdp_store.ids import encode_identifier
from tests.arrivals import of
from tests.router.fake_shards import FailingShard, call_error
from tests.router.identity.test_moving import rows
from tests.router.identity.test_retries_after_erasure import ANN, DEVICE, PARTITIONS, T, known, login
from tests.router.local_cluster import FixedClock, LocalCluster, far_deadline, local_cluster

Work = Callable[[], Awaitable[object]]
LINKS, ASKED = "links", "asked_links"


class InterruptedShards:
    """Runs work once before the first delivery that brings something to a partition, or only asks it of links."""

    def __init__(self) -> None:
        self.field, self.work = "", None
        self.fails_to_erase: Callable[[int], bool] = lambda partition: False

    def interrupt(self, field: str, work: Work) -> None:
        self.field, self.work = field, work

    async def before(self, method: UnaryMethod[Any, Any], request: Any) -> None:
        if method is ERASE_PROFILES and self.fails_to_erase(request.partition):
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        if method is not DELIVER or self.work is None:
            return
        # Of two shards the one that has the device's link; what has the record goes first.
        if any(getattr(each, self.field) and not each.batch for each in request.batches):
            work, self.work = self.work, None
            await work()


class InterruptedShard(FailingShard):
    def __init__(self, inner: ShardClient, shards: InterruptedShards) -> None:
        super().__init__(inner)
        self.shards = shards

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        await self.shards.before(method, request)
        return await super().call(method, request, deadline)


@contextmanager
def interrupted(folder: Path, partitions: int) -> Iterator[tuple[LocalCluster, InterruptedShards]]:
    shards = InterruptedShards()
    with local_cluster(folder, lambda _, client: InterruptedShard(client, shards), of(partitions)) as cluster:
        yield cluster, shards


def erasing(cluster: LocalCluster, named: Named = ANN, *, purge: bool = False) -> Work:
    request = admin_pb2.EraseProfileRequest(other=query_pb2.Identifier(kind=named[0], value=named[1]), purge=purge)
    return lambda: Erasures(cluster.routing, FixedClock()).erase(request, far_deadline())


def is_known(cluster: LocalCluster, named: Named) -> bool:
    encoded = encode_identifier(*named)
    held = [each.identity for server in cluster.servers for each in server._store.partitions.values()]
    return any(each.knows(encoded) or each.seats.names(encoded) for each in held)


def device_elsewhere(cluster: LocalCluster) -> str:
    """A device that lives in another shard than ann, where there are several."""
    identities, shards = Identities(cluster.routing), cluster.routing.map.by_shard
    home = identities.home(ANN)
    others = [f"d{number}" for number in range(99)]
    found = [each for each in others if identities.home(("anonymous_id", each)) % 2 != home % 2]
    assert shards is not None
    return found[0] if found else others[0]


@PARTITIONS
@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("message_id", ["m1", None])
def test_a_link_on_its_way_does_not_outlive_the_erasure_of_its_person(
    tmp_path: Path, partitions: int, purge: bool, message_id: str | None
) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)
        shards.interrupt(LINKS, erasing(cluster, purge=purge))
        cluster.ingest(rows(login(message_id, device=device), batch_id=b"1"))
        assert shards.work is None
        assert known(cluster, ANN) == known(cluster, ("anonymous_id", device)) == set()
        assert not is_known(cluster, ANN) and not is_known(cluster, ("anonymous_id", device))
        assert cluster.query("everyone").count == 0
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        assert not is_known(cluster, ANN)


@pytest.mark.parametrize("partitions", [4, 16])
def test_a_partition_that_is_asked_late_learns_of_the_erasure_before(tmp_path: Path, partitions: int) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)
        shards.interrupt(ASKED, erasing(cluster))
        cluster.ingest(rows(login("m1", device=device), batch_id=b"1"))
        assert shards.work is None
        if cluster.query("everyone").count == 0:  # the record was there first
            assert not is_known(cluster, ANN)
        else:
            assert known(cluster, ANN) == {(device, "m1")}


@PARTITIONS
def test_who_comes_back_while_a_link_is_on_its_way_is_linked(tmp_path: Path, partitions: int) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)

        async def forget_and_return() -> None:
            await erasing(cluster)()
            again = rows(login("m2", device=device, time_ms=T + 5), batch_id=b"2")
            assert (await cluster.taking.take(again, far_deadline())).accepted == 1

        shards.interrupt(LINKS, forget_and_return)
        cluster.ingest(rows(login("m1", device=device), batch_id=b"1"))
        assert [identifier for identifier, _ in known(cluster, ANN)] == [device]
        assert cluster.query('count("Login") = 1').count == cluster.query("everyone").count == 1


@PARTITIONS
def test_links_of_who_was_erased_before_are_taken(tmp_path: Path, partitions: int) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)
        shards.interrupt(LINKS, erasing(cluster))
        cluster.ingest(rows(login("m1", device=device), batch_id=b"1"))
        # The partition of the device remembers the erasure of ann now.
        cluster.ingest(rows(login("m2", device=device), login("m3", "bob", "e"), batch_id=b"2"))
        assert known(cluster, ANN) == {(device, "m2")}
        shards.interrupt(LINKS, erasing(cluster))
        cluster.ingest(rows(login("m4", device="another"), batch_id=b"3"))
        assert not is_known(cluster, ANN) and not is_known(cluster, ("anonymous_id", device))
        assert known(cluster, ("user_id", "bob")) == {("e", "m3")}


@PARTITIONS
def test_a_device_that_is_erased_while_its_link_is_on_its_way_is_not_linked(tmp_path: Path, partitions: int) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = ("anonymous_id", device_elsewhere(cluster))
        cluster.ingest(rows(["View", None, device[1], T - 9, "m0", {}], batch_id=b"0"))
        shards.interrupt(LINKS, erasing(cluster, device))
        cluster.ingest(rows(login("m1", device=device[1]), batch_id=b"1"))
        assert known(cluster, device) == known(cluster, ANN) == set()
        assert cluster.query('count("Login") = 1').count == cluster.query("everyone").count == 1
        cluster.ingest(rows(login("m2", device=device[1]), batch_id=b"2"))
        assert known(cluster, ANN) == {(device[1], "m2")}


def test_an_erasure_that_stops_before_the_link_s_partition_is_finished_there(tmp_path: Path) -> None:
    with interrupted(tmp_path, 16) as (cluster, shards):
        device = device_elsewhere(cluster)
        home = Identities(cluster.routing).home(ANN)

        async def stop_half_way() -> None:
            shards.fails_to_erase = lambda partition: partition != home
            with pytest.raises(ShardUnavailable):
                await erasing(cluster)()
            shards.fails_to_erase = lambda partition: False
            await Erasures(cluster.routing, FixedClock()).finish(far_deadline())

        shards.interrupt(LINKS, stop_half_way)
        cluster.ingest(rows(login("m1", device=device), batch_id=b"1"))
        assert not is_known(cluster, ANN) and cluster.query("everyone").count == 0
        assert cluster.run(Erasures(cluster.routing, FixedClock()).finish(far_deadline())) == set()


def test_a_device_of_somebody_else_stays_theirs(tmp_path: Path) -> None:
    """A seat of a claim that lost is no link on its way."""
    with interrupted(tmp_path, 16) as (cluster, _):
        cluster.ingest(rows(login("m1", "bob", time_ms=T - 9), batch_id=b"1"))
        cluster.ingest(rows(login("m2"), batch_id=b"2"))
        cluster.run(erasing(cluster)())
        assert known(cluster, DEVICE) == {("d", "m1")} and not is_known(cluster, ANN)
