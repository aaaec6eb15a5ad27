"""Batches of many callers go to the shards together; each caller is told what became of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from cdp.v1 import ingest_pb2, shard_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, ShardUnavailable
from cdp_router.ingest.loads import Load, Taken, load
from cdp_router.limits import FLIGHTS_MAX
from cdp_router.records.columnarise import columnarise
from cdp_store.ids import USER_ID, encode_identifier
from cdp_store.memory.digest import digest
from cdp_store.records.records import Strings, decode_batch
from tests.router.encodings import Sent, protobuf_batch
from tests.router.fake_shards import FailingShard, SilentShard, call_error
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, far_deadline, local_cluster

NAMES = ["View", "Buy", "Share", "", "Like"]  # one that is refused by the router, some beyond the shards' limit
RECORDS = [
    Sent(NAMES[n % 5], f"u{n % 7}", NOW_MS - n % 3, {"page": f"p{n % 4}"}, f"a{n % 2}" if n % 6 == 0 else "", f"m{n}")
    for n in range(30)
]


class Gate(FailingShard):
    """Holds deliveries back until it is opened; counts them."""

    def __init__(self, inner: ShardClient) -> None:
        super().__init__(inner)
        self.open = asyncio.Event()
        self.asked = asyncio.Semaphore(0)  # released by each request
        self.requests = list[shard_pb2.DeliverRequest]()

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is DELIVER:
            self.requests.append(request)
            self.asked.release()
            await self.open.wait()
        return await super().call(method, request, deadline)


def _batch(*numbers: int) -> ingest_pb2.Batch:
    return protobuf_batch(RECORDS[number] for number in numbers)


def _of_shard(shard: int, name: str = "View") -> ingest_pb2.Batch:
    """A batch of one person who lives on a shard, in its first partition."""
    return _of_partition(shard, name)


def _of_partition(partition: int, name: str) -> ingest_pb2.Batch:
    person = next(f"p{n}" for n in range(100) if _home(f"p{n}") == partition)
    return protobuf_batch([Sent(name, person, NOW_MS, {}, message_id=f"{name} {partition}")])


def _home(user_id: str) -> int:
    identities = Strings.of([encode_identifier(USER_ID, user_id)])
    return int(partitions_of(identities, CLUSTER.hash_key, CLUSTER.partitions)[0])


def _told(result: ingest_pb2.BatchResult) -> object:
    errors = [(error.index, error.code, error.message) for error in result.errors]
    return result.accepted, result.duplicates, errors, {position.partition for position in result.positions}


@contextmanager
def _two_names_known(folder: Path) -> Iterator[LocalCluster]:
    with local_cluster(folder) as cluster, pytest.MonkeyPatch.context() as patch:
        for server in cluster.servers:
            for partition in server._store.partitions.values():
                known = partition._memory.schema.events
                patch.setattr(known, "limit", len({known.number(name) for name in NAMES[:2]}))
        yield cluster


def _digests(cluster: LocalCluster) -> list[object]:
    return [digest(held.capture()) for server in cluster.servers for held in server._store.partitions.values()]


async def _all(cluster: LocalCluster, batches: Sequence[ingest_pb2.Batch]) -> list[ingest_pb2.BatchResult]:
    return await asyncio.gather(*(cluster.taking.ingest(batch, far_deadline()) for batch in batches))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, len(RECORDS) - 1), max_size=8), min_size=1, max_size=9))
def test_together_or_one_by_one_every_batch_is_told_the_same(numbers: list[list[int]]) -> None:
    batches = [_batch(*each) for each in numbers]
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        with _two_names_known(Path(one)) as alone, _two_names_known(Path(other)) as together:
            expected = [_told(alone.ingest(batch)) for batch in batches]
            found = [_told(result) for result in together.run(_all(together, batches))]
            assert found == expected
            assert _digests(together) == _digests(alone)
            assert [together.ingest(batch).accepted for batch in batches] == [0] * len(batches)


@contextmanager
def _gated(folder: Path) -> Iterator[tuple[LocalCluster, list[Gate]]]:
    gates = list[Gate]()

    def gate(_: int, client: ShardClient) -> ShardClient:
        gates.append(Gate(client))
        return gates[-1]

    with local_cluster(folder, gate) as cluster:
        yield cluster, gates


def test_what_waits_for_a_flight_goes_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_router.ingest.flights.FLIGHT_SECONDS", 60.0)
    with _gated(tmp_path) as (cluster, gates):
        read = [columnarise(_batch(*range(n, n + 7)), NOW_MS) for n in range(20)]

        async def run() -> list[Taken]:
            flights = cluster.taking._flights
            taking = [asyncio.create_task(flights.deliver(each.batch, each.links, far_deadline())) for each in read]
            for gate in gates:
                await gate.asked.acquire()
                gate.open.set()
            return await asyncio.gather(*taking)

        cluster.run(run())
        # Links that turn out to be news go with flights after those of their records.
        carrying = [[each for each in gate.requests if any(piece.batch for piece in each.batches)] for gate in gates]
        assert [len(each) for each in carrying] == [FLIGHTS_MAX + 1] * 2


def test_batches_without_ids_of_records_go_alone_under_their_own(tmp_path: Path) -> None:
    with _gated(tmp_path) as (cluster, gates):
        for gate in gates:
            gate.open.set()
        sent = [protobuf_batch([Sent("View", "ann", NOW_MS, {})], b"b%d" % number) for number in range(9)]
        results = cluster.run(_all(cluster, [*sent, *sent]))
        assert [result.accepted for result in results] == [1] * 9 + [0] * 9
        requests = [request for gate in gates for request in gate.requests]
        went = [decode_batch(piece.batch).batch_id for request in requests for piece in request.batches]
        assert sorted(went) == sorted(batch.batch_id for batch in [*sent, *sent])


def test_a_caller_that_goes_away_stops_nobody_on_its_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_router.ingest.flights.FLIGHTS_MAX", 1)
    loading, may_load = asyncio.Event(), threading.Event()

    async def run(cluster: LocalCluster, gate: Gate) -> ingest_pb2.BatchResult:
        loop = asyncio.get_running_loop()

        def slowly(*given: Any) -> Load:
            loop.call_soon_threadsafe(loading.set)
            assert may_load.wait(60)
            return load(*given)

        read = [columnarise(_of_shard(0, name), NOW_MS) for name in NAMES[:3]]
        takes = (cluster.taking._flights.deliver(each.batch, each.links, far_deadline()) for each in read)
        first, second, third = [asyncio.create_task(take) for take in takes]
        await gate.asked.acquire()
        monkeypatch.setattr("cdp_router.ingest.flights.load", slowly)
        gate.open.set()
        await loading.wait()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        may_load.set()
        assert (await first).accepted == 1
        return await third

    with _gated(tmp_path) as (cluster, gates):
        assert cluster.run(run(cluster, gates[0])).accepted == 1
        assert cluster.query('did("Buy")').count == 1, "what the caller that went away had sent went on"


@pytest.mark.parametrize("together", [False, True])
def test_a_shard_that_hangs_holds_up_only_what_concerns_it(tmp_path: Path, together: bool) -> None:
    def silent(number: int, client: ShardClient) -> ShardClient:
        return SilentShard(client) if number == 1 else client

    with local_cluster(tmp_path, silent) as cluster:
        hanging, other = [_of_shard(1, name) for name in ("View", "Buy", "Share")], _of_shard(0)
        deadline = Deadline.after(1.0, 1.0)

        async def run() -> tuple[bool, ingest_pb2.BatchResult, list[object]]:
            stuck = [asyncio.create_task(cluster.taking.ingest(batch, deadline)) for batch in hanging]
            served = asyncio.create_task(cluster.taking.ingest(other, deadline if together else far_deadline()))
            result = await served
            first = not any(task.done() for task in stuck)
            return first, result, list(await asyncio.gather(*stuck, return_exceptions=True))

        was_first, result, failures = cluster.run(run())
        assert was_first
        assert result.accepted == 1
        assert [type(failure) for failure in failures] == [DeadlineMissed] * 3


def test_a_shard_that_is_away_fails_only_the_batches_that_concern_it(tmp_path: Path) -> None:
    def away(number: int, client: ShardClient) -> ShardClient:
        return FailingShard(client, call_error(grpc.StatusCode.UNAVAILABLE)) if number == 1 else client

    with local_cluster(tmp_path, away) as cluster:
        batches = [_of_partition(partition, name) for name in NAMES[:3] for partition in (0, 1, 3)]

        async def run() -> list[object]:
            tasks = (cluster.taking.ingest(batch, far_deadline()) for batch in batches)
            return list(await asyncio.gather(*tasks, return_exceptions=True))

        found = cluster.run(run())
        assert [each.accepted for each in found if isinstance(each, ingest_pb2.BatchResult)] == [1] * 3
        named = [error.partitions for error in found if isinstance(error, ShardUnavailable)]
        assert named == [(1,), (3,)] * 3, "each is told of the partition that it concerns"


def test_the_deadline_of_one_batch_is_not_that_of_its_flight(tmp_path: Path) -> None:
    with _gated(tmp_path) as (cluster, gates):

        async def run() -> ingest_pb2.BatchResult:
            patient = [asyncio.create_task(cluster.taking.ingest(_batch(n), far_deadline())) for n in (0, 1, 5)]
            hurried = asyncio.create_task(cluster.taking.ingest(_batch(6), Deadline.after(0.2, 0.2)))
            with pytest.raises(DeadlineMissed, match="send the batch again"):
                await hurried
            for gate in gates:
                gate.open.set()
            return (await asyncio.gather(*patient))[2]

        assert cluster.run(run()).accepted == 1


assert CLUSTER.shards == 2, "the tests above take partitions 0 and 1 for those of shards 0 and 1, 3 for one of 1"
