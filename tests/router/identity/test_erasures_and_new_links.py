"""An erasure between a record and the link that it states: of the person nothing stays, nor does it come afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from cdp.v1 import admin_pb2, query_pb2

from cdp_router.background import awaited
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, ERASE_PROFILES, WRITE_DOCUMENT, UnaryMethod
from cdp_router.cluster.topology import ClusterFile
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import DeadlineMissed, ShardUnavailable
from cdp_router.identity.identities import Identities, Named
from cdp_store.identity.identity_changes import Links
from cdp_store.identity.seats import OTHERS, Wanted
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.partition.dedupe import BatchIds
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from cdp_store.shard.admission import Delivery, admit
from tests.raw_records import Event, user
from tests.router.fake_shards import FailingShard, call_error
from tests.router.identity.test_moving import rows
from tests.router.identity.test_refused_links import limit
from tests.router.identity.test_retries_after_erasure import ANN, DEVICE, PARTITIONS, T, known, login
from tests.router.local_cluster import CLUSTER, FixedClock, LocalCluster, far_deadline, local_cluster
from tests.shards import KEY, batch_of

Work = Callable[[], Awaitable[object]]
LINKS, ASKED, SEATS = "links", "asked_links", "seats"


class InterruptedShards:
    """Runs work once before the first delivery that brings something to a partition, or only asks it of links."""

    def __init__(self) -> None:
        self.field, self.work = "", None
        self.fails_to_erase: Callable[[int], bool] = lambda partition: False
        self.is_interrupted: Callable[[UnaryMethod[Any, Any], Any], bool] = lambda method, request: False
        self.erasing_work: Work | None = None
        self.delivered: Callable[[Any], object] = lambda request: None

    def interrupt(self, field: str, work: Work) -> None:
        self.field, self.work = field, work

    def interrupt_erasure(self, is_meant: Callable[[UnaryMethod[Any, Any], Any], bool], work: Work) -> None:
        self.is_interrupted, self.erasing_work = is_meant, work

    async def before(self, method: UnaryMethod[Any, Any], request: Any) -> None:
        if method is ERASE_PROFILES and self.fails_to_erase(request.partition):
            raise call_error(grpc.StatusCode.UNAVAILABLE)
        if self.erasing_work is not None and self.is_interrupted(method, request):
            erasing_work, self.erasing_work = self.erasing_work, None
            await erasing_work()
        if method is not DELIVER or self.work is None:
            return
        # Of two shards the one that has the device's link; what has the record goes first.
        if any(each.batch for each in request.batches) and self.field == SEATS:
            return
        if any(getattr(each, self.field) and not each.batch for each in request.batches):
            work, self.work = self.work, None
            await work()


class InterruptedShard(FailingShard):
    def __init__(self, inner: ShardClient, shards: InterruptedShards) -> None:
        super().__init__(inner)
        self.shards = shards

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        await self.shards.before(method, request)
        response = await super().call(method, request, deadline)
        if method is DELIVER:
            self.shards.delivered(request)
        return response


def _cluster(partitions: int) -> ClusterFile:
    """One of two shards, so that calls to one of them can wait for the other; of one partition there is one."""
    return msgspec.structs.replace(CLUSTER, partitions=partitions, shards=min(2, partitions))


@contextmanager
def interrupted(folder: Path, partitions: int) -> Iterator[tuple[LocalCluster, InterruptedShards]]:
    shards = InterruptedShards()
    with local_cluster(folder, lambda _, client: InterruptedShard(client, shards), _cluster(partitions)) as cluster:
        yield cluster, shards


def erasing(cluster: LocalCluster, named: Named = ANN, *, purge: bool = False) -> Work:
    request = admin_pb2.EraseProfileRequest(other=query_pb2.Identifier(kind=named[0], value=named[1]), purge=purge)
    return lambda: Erasures(cluster.routing, FixedClock()).erase(request, far_deadline())


def is_known(cluster: LocalCluster, named: Named) -> bool:
    encoded = encode_identifier(*named)
    held = [each.identity for server in cluster.servers for each in server._store.partitions.values()]
    return any(each.knows(encoded) or each.seats.names(encoded) for each in held)


def device_elsewhere(cluster: LocalCluster) -> str:
    """A device that lives in another shard than ann, where there are several partitions."""

    def shard(named: Named) -> int:
        return next(iter(cluster.routing.map.by_shard([Identities(cluster.routing).home(named)])))

    others = [f"d{number}" for number in range(99)]
    return next((each for each in others if shard(("anonymous_id", each)) != shard(ANN)), others[0])


def device_known_elsewhere(cluster: LocalCluster) -> Named:
    """A device with a record of its own, so that its home takes notice of an erasure."""
    device = ("anonymous_id", device_elsewhere(cluster))
    cluster.ingest(rows(["View", None, device[1], T - 9, "m0", {}], batch_id=b"0"))
    return device


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
    with local_cluster(tmp_path, cluster=_cluster(partitions)) as cluster:
        assert not is_known(cluster, ANN)


@pytest.mark.parametrize("partitions", [4, 16])
@pytest.mark.parametrize("is_of_device", [False, True])
def test_a_partition_that_is_asked_after_the_erasure_logs_no_link_from_before_it(
    tmp_path: Path, partitions: int, is_of_device: bool
) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device, seated = device_known_elsewhere(cluster), asyncio.Event()
        erased = device if is_of_device else ANN

        async def erase_once_seated() -> None:
            await asyncio.wait_for(seated.wait(), 60)  # the record and the seat are logged by now
            await erasing(cluster, erased)()

        shards.interrupt(ASKED, erase_once_seated)
        shards.delivered = lambda request: any(each.seats for each in request.batches) and seated.set()
        cluster.ingest(rows(login("m1", device=device[1]), batch_id=b"1"))
        assert shards.work is None and known(cluster, device) == known(cluster, ANN) == set()
        assert not is_known(cluster, erased) and cluster.query("everyone").count == 1


@PARTITIONS
def test_who_comes_back_while_a_link_is_on_its_way_is_linked(tmp_path: Path, partitions: int) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)

        async def forget_and_return() -> None:
            await erasing(cluster)()
            again = rows(login("m2", device=device, time_ms=T + 5), batch_id=b"2")
            assert (await cluster.taking.ingest(again, far_deadline())).accepted == 1

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


@PARTITIONS
def test_who_comes_back_counts_from_the_new_record_and_not_from_the_link_on_its_way(
    tmp_path: Path, partitions: int
) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)

        async def forget_and_return() -> None:
            await erasing(cluster)()
            await cluster.taking.ingest(rows(login("m2", device=device, time_ms=T + 5), batch_id=b"2"), far_deadline())

        shards.interrupt(LINKS, forget_and_return)
        cluster.ingest(rows(login("m1", device=device), batch_id=b"1"))
        assert known(cluster, ANN) == {(device, "m2")}


@pytest.mark.parametrize("partitions", [4, 16])
def test_what_a_link_moves_while_its_person_is_erased_goes_too(tmp_path: Path, partitions: int) -> None:
    """The link is logged when the record has been erased, and the partition of the link has not."""
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)
        cluster.ingest(rows(["View", None, device, T - 9, "m0", {}], batch_id=b"0"))

        async def erase_meanwhile() -> None:
            is_waiting, may_go_on = asyncio.Event(), asyncio.Event()

            async def wait() -> None:
                is_waiting.set()
                await may_go_on.wait()

            async def let_go_on() -> None:
                may_go_on.set()
                await sending

            shards.interrupt(LINKS, wait)
            sending = awaited(cluster.taking.ingest(rows(login("m1", device=device), batch_id=b"1"), far_deadline()))
            await is_waiting.wait()
            shards.interrupt_erasure(lambda _, request: getattr(request, "must_remember", False), let_go_on)
            await erasing(cluster)()
            assert sending.done()

        cluster.run(erase_meanwhile())
        cluster.run(Identities(cluster.routing).settle(far_deadline()))
        assert not is_known(cluster, ANN) and cluster.members("everyone")[0] in ([], [("anonymous_id", device)])


@pytest.mark.parametrize("partitions", [4, 16])
def test_what_a_device_sends_while_its_person_is_erased_makes_no_profile_of_the_person(
    tmp_path: Path, partitions: int
) -> None:
    """The person's partition has been erased, the device's has not: its records still move to the person."""
    with interrupted(tmp_path, partitions) as (cluster, shards):
        home = Identities(cluster.routing).home
        user = next(each for each in map("u{}".format, range(99)) if home(("user_id", each)) == 0)
        device = next(each for each in map("d{}".format, range(99)) if home(("anonymous_id", each)) > 0)
        cluster.ingest(rows(login("m1", user, device), batch_id=b"1"))

        async def send() -> None:
            await cluster.taking.ingest(rows(["View", None, device, T + 5, "m2", {}], batch_id=b"2"), far_deadline())

        of_device = home(("anonymous_id", device))
        shards.interrupt_erasure(lambda method, each: method is ERASE_PROFILES and each.partition == of_device, send)
        cluster.run(erasing(cluster, ("user_id", user))())
        cluster.run(Identities(cluster.routing).settle(far_deadline()))
        assert shards.erasing_work is None and not is_known(cluster, ("user_id", user))
        assert cluster.members("everyone")[0] in ([], [("anonymous_id", device)])


@PARTITIONS
def test_an_erasure_before_a_late_seat_is_asked_for_leaves_no_link(tmp_path: Path, partitions: int) -> None:
    """A record was taken when no seat was left. It is sent again, and seats are asked for once more."""
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_elsewhere(cluster)
        limit(cluster, 1)
        cluster.ingest(rows(login("m0", device="other"), batch_id=b"0"))
        assert len(cluster.ingest(rows(login("m1", device=device), batch_id=b"1")).warnings) == 1
        limit(cluster, 2)
        shards.interrupt(SEATS, erasing(cluster))
        cluster.ingest(rows(login("m1", device=device), batch_id=b"2"))
        assert shards.work is None and cluster.query("everyone").count == 0
        assert known(cluster, ANN) == set() and not is_known(cluster, ANN)


def test_an_erasure_that_joins_one_that_stopped_finishes_it(tmp_path: Path) -> None:
    """Two erasures of one person look for others before either has begun. The second begins when the first stopped."""
    with interrupted(tmp_path, 16) as (cluster, shards):
        device = device_elsewhere(cluster)
        home = Identities(cluster.routing).home(ANN)

        async def stop_half_way() -> None:
            shards.fails_to_erase = lambda partition: partition != home
            with pytest.raises(ShardUnavailable):
                await erasing(cluster)()
            shards.fails_to_erase = lambda partition: False

        async def erase_twice() -> None:
            shards.interrupt_erasure(lambda method, _: method is WRITE_DOCUMENT, stop_half_way)
            await erasing(cluster)()

        shards.interrupt(LINKS, erase_twice)
        cluster.ingest(rows(login("m1", device=device), batch_id=b"1"))
        assert shards.erasing_work is None and cluster.query("everyone").count == 0
        assert not is_known(cluster, ANN) and known(cluster, ("anonymous_id", device)) == set()
        assert cluster.run(Erasures(cluster.routing, FixedClock()).finish(far_deadline())) == set()


@pytest.mark.parametrize("partitions", [4, 16])
def test_a_repeat_between_the_erasures_of_a_device_s_partitions_does_not_link_it_again(
    tmp_path: Path, partitions: int
) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = ("anonymous_id", device_elsewhere(cluster))
        sent, erased = rows(login("m1", device=device[1]), batch_id=b"1"), list[int]()
        cluster.ingest(rows(["View", None, device[1], T - 9, "m0", {}], batch_id=b"0"))

        def is_second(method: UnaryMethod[Any, Any], request: Any) -> bool:
            if method is ERASE_PROFILES and not request.must_be_alone:
                erased.append(request.partition)
            return len(erased) == 2

        async def send_again() -> None:
            assert (await cluster.taking.ingest(sent, far_deadline())).duplicates == 1

        async def erase_device() -> None:
            shards.interrupt_erasure(is_second, send_again)
            await erasing(cluster, device)()

        shards.interrupt(LINKS, erase_device)
        cluster.ingest(sent)
        assert shards.erasing_work is None and known(cluster, device) == set()


@pytest.mark.parametrize("partitions", [4, 16])
def test_a_seat_that_an_erasure_of_the_device_does_not_see_brings_no_link(tmp_path: Path, partitions: int) -> None:
    with interrupted(tmp_path, partitions) as (cluster, shards):
        device = device_known_elsewhere(cluster)
        at_links, is_erased = asyncio.Event(), asyncio.Event()
        sending = list[asyncio.Task[Any]]()

        async def wait_with_the_links() -> None:
            at_links.set()
            await asyncio.wait_for(is_erased.wait(), 60)

        async def send_before_it_is_erased() -> None:
            # The erasure has asked where the device is known: the seat comes after that.
            shards.interrupt(LINKS, wait_with_the_links)
            batch = rows(login("m1", device=device[1]), batch_id=b"1")
            sending.append(asyncio.ensure_future(cluster.taking.ingest(batch, far_deadline())))
            await asyncio.wait_for(at_links.wait(), 60)

        async def erase_and_wait() -> None:
            shards.interrupt_erasure(lambda method, _: method is ERASE_PROFILES, send_before_it_is_erased)
            await erasing(cluster, device)()
            is_erased.set()
            await sending[0]

        cluster.run(erase_and_wait())
        assert known(cluster, device) == known(cluster, ANN) == set()
        assert cluster.query('count("Login") = 1').count == cluster.query("everyone").count == 1


def test_a_seat_that_is_gone_is_not_given_again_when_the_time_of_the_erasure_is_no_longer_known() -> None:
    partition, links = Partition(PartitionId(0), KEY), Links.of([(b"ad", b"uann", T, b"")])
    event = batch_of([Event(user("ann"), "Login", T)])
    partition.batch_ids = BatchIds(capacity=1)
    partition.apply(event, SequenceNumber(1))
    partition.erase([b"uann"], SequenceNumber(2))
    partition.batch_ids.add(b"another", SequenceNumber(3))
    asked = Delivery(partition.partition, BatchBuilder().finish())
    for is_again, void in ((True, (0,)), (False, ())):
        wanted = Wanted(links, {OTHERS: 9}, is_again=is_again, asked_at=np.array([1]))
        [outcome], _ = admit({partition.partition: partition}, [replace(asked, wanted=wanted)])
        assert outcome.void == void


class DoubtingShard(FailingShard):
    """Logs no new link: it says each time that the seat must be looked for."""

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        doubted = [batch for batch in request.batches if batch.links] if method is DELIVER else []
        for batch in doubted:
            batch.asked_links = batch.links
            for field in ("links", "links_asked_at", "links_seated_at"):
                batch.ClearField(field)
        response = await super().call(method, request, deadline)
        if doubted:
            for outcome in response.outcomes:
                outcome.doubted[:] = [0]
        return response


def test_looking_for_a_seat_again_and_again_ends_with_the_deadline(tmp_path: Path) -> None:
    with local_cluster(tmp_path, lambda _, client: DoubtingShard(client), _cluster(1)) as cluster:
        taking = cluster.taking.ingest(rows(login("m1"), batch_id=b"1"), Deadline.after(0.5, 0.5))
        with pytest.raises(DeadlineMissed, match="send the batch again"):
            cluster.run(asyncio.wait_for(taking, 60))
