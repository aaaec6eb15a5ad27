"""A record from before an erasure that is sent again changes nothing: neither events nor links come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.errors import ShardUnavailable
from cdp_router.identity.identities import Identities, Named
from cdp_store.identity.identity_changes import Links, Seating
from cdp_store.identity.seats import OTHERS, Wanted
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch
from cdp_store.shard.admission import Delivery, admit
from tests.arrivals import of
from tests.raw_records import Event, user
from tests.router.fake_shards import FailingShard, call_error
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster
from tests.router.test_erasing import erase, snapshot
from tests.router.test_moving import rows
from tests.shards import KEY, batch_of

T = NOW_MS - 100
ANN, DEVICE, TABLET = ("user_id", "ann"), ("anonymous_id", "d"), ("anonymous_id", "t")
FIRST = ["Login", "ann", "d", T, "m1", {}, {}, {}, {"email": "a@x.org"}]
FIRST = PartitionId(0)
PARTITIONS = pytest.mark.parametrize("partitions", [1, 4, 16])


def login(message_id: str | None, user: str = "ann", device: str = "d", time_ms: int = T) -> list[Any]:
    return ["Login", user, device, time_ms, message_id, {}]


def known(cluster: LocalCluster, identifier: Named) -> set[tuple[str, str]]:
    """The pairs of a person, as (identifier, message that bound it)."""
    found = cluster.run(Identities(cluster.routing).explain(identifier, far_deadline()))
    return {(each.identifier.value, each.message_id) for each in found.bindings}


def erased(cluster: LocalCluster, user: str = "ann") -> None:
    erase(cluster, "user_id", user)


@PARTITIONS
@pytest.mark.parametrize("batch_id", [b"1", b"another"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_batch_that_was_taken_before_an_erasure_brings_no_identifier_back(
    tmp_path: Path, partitions: int, batch_id: bytes, restarts: bool
) -> None:
    sent = [login("m1"), ["View", None, "d", T - 5, "m2", {}], login("m3", device="t")]
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(*sent, batch_id=b"1"))
        assert known(cluster, ANN) == {("d", "m1"), ("t", "m3")}
        erased(cluster)
        if restarts:
            snapshot(cluster)
        else:
            again = cluster.ingest(rows(*sent, batch_id=batch_id))
            assert (again.accepted, again.duplicates, len(again.warnings)) == (0, 3, 0)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        again = cluster.ingest(rows(*sent, batch_id=batch_id))
        assert (again.accepted, again.duplicates, len(again.warnings)) == (0, 3, 0)
        for identifier in (ANN, DEVICE, TABLET):
            assert known(cluster, identifier) == set()
        assert cluster.query("everyone").count == 0
        for server in cluster.servers:
            assert not any(
                each.identity.knows(encode_identifier(*DEVICE)) for each in server._store.partitions.values()
            )


@PARTITIONS
def test_a_batch_without_message_ids_is_known_by_its_own(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(login(None), batch_id=b"1"))
        erased(cluster)
        assert cluster.ingest(rows(login(None), batch_id=b"1")).duplicates == 1
        assert known(cluster, DEVICE) == set()
        cluster.ingest(rows(login(None), batch_id=b"2"))
        assert len(known(cluster, DEVICE)) == 1


@PARTITIONS
def test_who_comes_back_is_somebody_new_whose_links_are_taken(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(login("m1"), batch_id=b"1"))
        erased(cluster)
        mixed = [login("m1"), login("m2", time_ms=T + 9), login("m3", time_ms=T + 5)]
        back = cluster.ingest(rows(*mixed, batch_id=b"2"))
        assert (back.accepted, back.duplicates) == (2, 1)
        assert known(cluster, DEVICE) <= {("d", "m2"), ("d", "m3")} and known(cluster, DEVICE)
        assert cluster.query('count("Login") = 2').count == 1
        cluster.ingest(rows(*mixed, batch_id=b"3"))
        assert [identifier for identifier, _ in known(cluster, DEVICE)] == ["d"]
        assert cluster.query("everyone").count == 1


@PARTITIONS
@pytest.mark.parametrize("places", [(-9, -5, 0), (-9, -5, -1, 0), (0, 0, 0)])
def test_a_new_record_between_two_repeats_says_its_link_anew(
    tmp_path: Path, partitions: int, places: tuple[int, ...]
) -> None:
    before = [login("m0", time_ms=T + places[0]), login("m9", time_ms=T + places[-1])]
    new = [login(f"n{number}", time_ms=T + place) for number, place in enumerate(places[1:-1])]
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(*before, batch_id=b"1"))
        erased(cluster)
        again = cluster.ingest(rows(before[0], *new, before[1], batch_id=b"2"))
        assert (again.accepted, again.duplicates) == (len(new), 2)
        assert known(cluster, DEVICE) == {("d", "n0")}
        seats = [each.identity.seats for server in cluster.servers for each in server._store.partitions.values()]
        assert sum(map(len, seats)) == 1
        cluster.ingest(rows(*before, *new, batch_id=b"3"))
        assert [identifier for identifier, _ in known(cluster, DEVICE)] == ["d"]


@PARTITIONS
def test_a_pair_that_comes_back_counts_from_its_first_new_record(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(login("m1", time_ms=T - 9), batch_id=b"1"))
        erased(cluster)
        mixed = [login("m1", time_ms=T - 9), login("m2", time_ms=T - 5), login("m3")]
        cluster.ingest(rows(*mixed, batch_id=b"2"))
        assert known(cluster, DEVICE) == {("d", "m2")}


@PARTITIONS
def test_a_device_that_was_two_people_s_is_not_given_to_the_other_by_a_retry(tmp_path: Path, partitions: int) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(login("m1"), batch_id=b"1"))
        cluster.ingest(rows(login("m1", "bob", time_ms=T + 5), batch_id=b"2"))
        assert known(cluster, DEVICE) == {("d", "m1")} and cluster.query("everyone").count == 2
        erased(cluster)
        cluster.ingest(rows(login("m1", "bob", time_ms=T + 5), batch_id=b"3"))
        assert known(cluster, DEVICE) == set()
        cluster.ingest(rows(login("m2", "bob", time_ms=T + 5), batch_id=b"4"))
        assert known(cluster, DEVICE) == {("d", "m2")}


class LinklessShard(FailingShard):
    """Takes records and gives seats, and fails where new links are to be logged."""

    def __init__(self, inner: ShardClient) -> None:
        super().__init__(inner)
        self.fails = False

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is DELIVER and self.fails and any(batch.links for batch in request.batches):
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        return await super().call(method, request, deadline)


@PARTITIONS
@pytest.mark.parametrize("has_been_erased", [False, True])
def test_links_that_a_crash_cut_off_come_with_the_retry_also_after_an_erasure(
    tmp_path: Path, partitions: int, has_been_erased: bool
) -> None:
    shards = dict[int, LinklessShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return shards.setdefault(number, LinklessShard(client))

    with local_cluster(tmp_path, wrap, of(partitions)) as cluster:
        if has_been_erased:
            cluster.ingest(rows(login("m1"), batch_id=b"1"))
            erased(cluster)
        for shard in shards.values():
            shard.fails = True
        with pytest.raises(ShardUnavailable):
            cluster.ingest(rows(login("m1"), login("m2"), batch_id=b"2"))
        assert known(cluster, DEVICE) == set()
        for shard in shards.values():
            shard.fails = False
        again = cluster.ingest(rows(login("m1"), login("m2"), batch_id=b"2"))
        assert (again.accepted, again.duplicates) == (0, 2)
        assert [identifier for identifier, _ in known(cluster, DEVICE)] == ["d"]


def test_a_torn_write_leaves_no_records_without_their_seats() -> None:
    links = Links.of([(b"ad", b"uann", T, b"m1")])
    batch = batch_of([Event(user("ann"), "Login", T, message_id="m1")])
    delivery, partition = Delivery(FIRST, batch, wanted=Wanted(links, {OTHERS: 9})), Partition(FIRST, KEY)
    outcomes, pending = admit({FIRST: partition}, [delivery, delivery])
    assert [type(each.meaning) for each in pending][:2] == [Seating, RecordBatch]
    assert [(each.duplicates, each.void) for each in outcomes] == [(0, ()), (1, ())], "a group may hold a retry"
