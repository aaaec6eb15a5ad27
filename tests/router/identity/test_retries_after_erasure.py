"""A record from before an erasure that is sent again changes nothing: neither events nor links come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.errors import ShardUnavailable
from cdp_router.identity.identities import Identities, Named
from cdp_router.ingest.loads import Said
from cdp_store.identity.identity_changes import Links, Seating
from cdp_store.identity.seats import OTHERS, Wanted
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.limits import DEDUPE_WINDOW_MS
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch
from cdp_store.shard.admission import Delivery, admit
from tests.arrivals import of
from tests.raw_records import Event, user
from tests.router.erasure.test_erasing import erase, snapshot
from tests.router.fake_shards import FailingShard, call_error
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster
from tests.shards import KEY, batch_of

T = NOW_MS - 100
ANN, DEVICE, TABLET = ("user_id", "ann"), ("anonymous_id", "d"), ("anonymous_id", "t")
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
def test_an_address_stays_away_like_a_device(tmp_path: Path, partitions: int) -> None:
    first = [*login("m1"), {"email": "a@x.org"}]
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(first, batch_id=b"1"))
        assert known(cluster, ANN) == {("d", "m1"), ("a@x.org", "m1")}
        erased(cluster)
        assert cluster.ingest(rows(first, batch_id=b"2")).duplicates == 1
        for identifier in (ANN, DEVICE, ("email", "a@x.org")):
            assert known(cluster, identifier) == set()


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
@pytest.mark.parametrize("message_id", ["m1", None])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_batch_that_is_known_longer_than_message_ids_brings_nobody_back(
    tmp_path: Path, partitions: int, message_id: str | None, restarts: bool
) -> None:
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        cluster.ingest(rows(login(message_id), batch_id=b"1"))
        erased(cluster)
        for week in range(1, 4):
            cluster.clock.now = NOW_MS + week * (DEDUPE_WINDOW_MS + 1)
            others = [login(f"{week} {n}", f"u{n}", f"e{n}") for n in range(60)]
            cluster.ingest(rows(*others, batch_id=b"week %d" % week))
        if restarts:
            snapshot(cluster)
    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        assert cluster.ingest(rows(login(message_id), batch_id=b"1")).duplicates == 1
        assert known(cluster, DEVICE) == set()


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


class StoppingShard(FailingShard):
    """Goes away before, or right after, one of its deliveries, counted from 0, and comes back for the others."""

    def __init__(self, inner: ShardClient) -> None:
        super().__init__(inner)
        self.stops_at, self.is_after, self.calls = -1, False, 0

    def stop(self, at: int, *, is_after: bool) -> None:
        self.stops_at, self.is_after, self.calls = at, is_after, 0

    async def deliver(self, request: Any, deadline: Any) -> shard_pb2.DeliverResponse:
        is_stopping = self.calls == self.stops_at
        self.calls += 1
        if is_stopping and not self.is_after:
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        response = await self.inner.deliver(request, deadline)
        if is_stopping:
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        return response


@contextmanager
def stopping_cluster(folder: Path, partitions: int) -> Iterator[tuple[LocalCluster, list[StoppingShard]]]:
    shards = dict[int, StoppingShard]()

    def wrap(number: int, client: ShardClient) -> ShardClient:
        return shards.setdefault(number, StoppingShard(client))

    with local_cluster(folder, wrap, of(partitions)) as cluster:
        yield cluster, list(shards.values())


@PARTITIONS
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("new_id", ["n", None])
def test_wherever_a_shard_stops_a_new_link_between_two_repeats_is_taken_by_the_retry(
    tmp_path: Path, partitions: int, is_after: bool, at: int, new_id: str | None
) -> None:
    before = [login("m0", time_ms=T - 9), login("m9")]
    mixed = rows(before[0], login(new_id, time_ms=T - 5), before[1], batch_id=b"2")
    with stopping_cluster(tmp_path, partitions) as (cluster, shards):
        cluster.ingest(rows(*before, batch_id=b"1"))
        erased(cluster)
        for shard in shards:
            shard.stop(at, is_after=is_after)
        try:
            cluster.ingest(mixed)
        except ShardUnavailable:
            again = cluster.ingest(mixed)
            assert again.accepted + again.duplicates == 3 and not again.errors
        assert [identifier for identifier, _ in known(cluster, DEVICE)] == ["d"]
        assert cluster.query('count("Login") = 1').count == 1
        assert cluster.query("everyone").count == 1


@PARTITIONS
def test_records_that_share_a_flight_with_undecided_ones_are_all_taken_once(tmp_path: Path, partitions: int) -> None:
    def between(n: int) -> list[list[Any]]:
        names = (f"u{n}", f"d{n}")
        return [login("m0", *names, time_ms=T - 9), login("n", *names, time_ms=T - 5), login("m9", *names)]

    with local_cluster(tmp_path, cluster=of(partitions)) as cluster:
        for n in range(6):
            cluster.ingest(rows(between(n)[0], between(n)[2], batch_id=b"first %d" % n))
            erased(cluster, f"u{n}")
        mixed = [rows(*between(n), batch_id=b"mixed %d" % n) for n in range(6)]
        others = [rows(login(f"o{n}", f"o{n}", f"e{n}"), batch_id=b"other %d" % n) for n in range(6)]

        async def together() -> list[ingest_pb2.BatchResult]:
            batches = [batch for pair in zip(mixed, others, strict=True) for batch in pair]
            return list(await asyncio.gather(*(cluster.taking.ingest(batch, far_deadline()) for batch in batches)))

        results = cluster.run(together())
        assert [(each.accepted, each.duplicates) for each in results] == [(1, 2), (1, 0)] * 6
        for n in range(6):
            assert known(cluster, ("anonymous_id", f"d{n}")) == {(f"d{n}", "n")}
        assert cluster.query('count("Login") = 1').count == 12


def test_what_tells_all_its_links_goes_alone() -> None:
    assert Said(batch_of([Event(user("ann"), "Login", T, message_id="m1")])).may_share
    assert not Said(batch_of([Event(user("ann"), "Login", T, message_id="m1")]), is_exact=True).may_share


def test_a_torn_write_leaves_no_records_without_their_seats() -> None:
    links = Links.of([(b"ad", b"uann", T, b"m1")])
    batch = batch_of([Event(user("ann"), "Login", T, message_id="m1")])
    delivery, partition = Delivery(FIRST, batch, wanted=Wanted(links, {OTHERS: 9})), Partition(FIRST, KEY)
    outcomes, pending = admit({FIRST: partition}, [delivery, delivery])
    assert [type(each.meaning) for each in pending][:2] == [Seating, RecordBatch]
    assert [(each.duplicates, each.void) for each in outcomes] == [(0, ()), (1, ())], "a group may hold a retry"
