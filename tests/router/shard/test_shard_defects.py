"""A shard whose store meets a defect, a batch that cannot be taken, or a lock that is held for long."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import admin_pb2, moving_pb2, partition_pb2, query_pb2, shard_pb2
from google.rpc import code_pb2, error_details_pb2

import cdp_store.events.maintaining
import cdp_store.shard.admission
from cdp_router.background import Background
from cdp_router.cluster.shard_methods import (
    CAPTURE_VIEWS,
    CHANGE_IDENTITY,
    CHANGE_QUARANTINE,
    CHANGE_RETENTION,
    CHANGE_SUPPRESSIONS,
    DELIVER,
    DISCOVER_NAMES,
    EVALUATE,
    PURGE_FILES,
    READ_ALL,
    READ_DOCUMENT,
    READ_HOLDINGS,
    READ_IDENTITY,
    READ_QUARANTINE,
    READ_SCHEMA,
    READ_STATUS,
    SCAN_FOR_IDENTIFIERS,
    TAKE_SNAPSHOT,
)
from cdp_router.contract.status import retry_delay_ms
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.server import ShardServer
from cdp_store.errors import StoreFailed
from cdp_store.identity.identity_changes import Links, encode_identity_change
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.memory.memory import PartitionMemory
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import Quarantined, encode_quarantine_change
from tests.raw_records import Event, anonymous, user
from tests.router.faulty_files import FaultyFiles
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock, far_deadline, open_store
from tests.router.shard_client_contract import (
    OffTheLoop,
    Shard,
    count,
    delivery,
    epochs,
    evaluation,
    one,
    refused,
    view,
)
from tests.shards import batch_of


def run(folder: Path, test: Callable[[Shard], Coroutine[Any, Any, None]]) -> None:
    """A test against a fresh shard."""

    async def whole() -> None:
        files, failures = FaultyFiles(), list[StoreFailed]()
        store = await asyncio.to_thread(open_store, folder, 0, files)
        server = ShardServer(store, failures.append, clock=FixedClock())
        try:
            await test(Shard(LocalShardClient(server), server, files, failures))
        finally:
            files.may_sync.set()
            await server.close()

    asyncio.run(whole())


class Once:
    """A method that raises the first time it is called, before or after its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool) -> None:
        real, self.calls = getattr(owner, name), 0

        def method(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls > 1:
                return real(*arguments)
            if after:
                real(*arguments)
            raise MemoryError(name)

        monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize("after", [False, True])
def test_a_defect_between_the_log_and_memory_stops_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Another batch would be logged under the same number, and the next start would refuse the log."""

    async def fail(shard: Shard) -> None:
        await shard.client.call(DELIVER, one([view("a")]), far_deadline())
        Once(monkeypatch, PartitionMemory, "apply", after=after)
        for _ in range(2):
            status = await refused(shard.client.call(DELIVER, one([view("b", message_id="m")]), far_deadline()))
            assert status.code == code_pb2.UNAVAILABLE and retry_delay_ms(status), "it is to be sent again"
        assert shard.failures and "MemoryError: apply" in str(shard.failures[0])
        status = await refused(shard.client.call(EVALUATE, evaluation("everyone"), far_deadline()))
        assert status.code == code_pb2.UNAVAILABLE, "memory may hold a part of it"

    async def look(shard: Shard) -> None:
        again = await shard.client.call(DELIVER, one([view("b", message_id="m")]), far_deadline())
        assert [(each.accepted, each.duplicates) for each in again.outcomes] == [(0, 1)], "the log had it"
        assert await count(shard.client) == 2

    run(tmp_path, fail)
    monkeypatch.undo()
    run(tmp_path, look)


@pytest.mark.parametrize("swap", ["install_seal", "install_compaction"])
def test_a_swap_of_maintenance_that_fails_halfway_stops_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    async def test(shard: Shard) -> None:
        Once(monkeypatch, cdp_store.events.maintaining.EventTables, swap, after=True)
        partition = shard.server._store.partitions[PartitionId(0)]
        monkeypatch.setattr(shard.server._store, "maintain", lambda: partition.maintain(0, 2))
        for number in range(6):
            if shard.failures:
                break
            batch = one([view("a", message_id=f"m{number}")])
            assert (await shard.client.call(DELIVER, batch, far_deadline())).outcomes[0].accepted == 1
            await asyncio.gather(shard.server.upkeep._maintaining, return_exceptions=True)
        assert len(shard.failures) == 1
        status = await refused(shard.client.call(EVALUATE, evaluation("everyone"), far_deadline()))
        assert status.code == code_pb2.UNAVAILABLE
        assert (await refused(shard.client.call(TAKE_SNAPSHOT, shard_pb2.TakeSnapshotRequest(), far_deadline()))).code

    run(tmp_path, test)


def test_maintenance_that_fails_before_its_swap_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(shard: Shard) -> None:
        Once(monkeypatch, cdp_store.events.maintaining, "prepare_seal", after=False)
        partition = shard.server._store.partitions[PartitionId(0)]
        monkeypatch.setattr(shard.server._store, "maintain", lambda: partition.maintain(0, 2))
        await shard.client.call(DELIVER, one([view("a")]), far_deadline())
        await asyncio.gather(shard.server.upkeep._maintaining, return_exceptions=True)
        await shard.client.call(DELIVER, one([view("b")]), far_deadline())
        assert (await count(shard.client), shard.failures) == (2, [])
        partition.validate()

    run(tmp_path, test)


async def _as_one_group(shard: Shard, requests: list[shard_pb2.DeliverRequest]) -> list[Any]:
    """What becomes of requests that share one sync, since another one is under way when they come."""
    shard.files.may_sync.clear()
    shard.files.syncing.clear()
    first = asyncio.ensure_future(shard.client.call(DELIVER, one([view("first", message_id="first")]), far_deadline()))
    await asyncio.to_thread(shard.files.syncing.wait)
    sent = [asyncio.ensure_future(shard.client.call(DELIVER, request, far_deadline())) for request in requests]
    while shard.server.commits.waiting_count < len(requests):
        await asyncio.sleep(0)
    shard.files.may_sync.set()
    await first
    return await asyncio.gather(*sent, return_exceptions=True)


@pytest.mark.parametrize("at", range(5))
def test_a_batch_too_large_for_the_log_refuses_its_sender_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(cdp_store.shard.admission, "LOG_RECORD_BYTES_MAX", 4000)

    async def test(shard: Shard) -> None:
        large = Event(user("large"), "View", NOW_MS, {"text": "x" * 5000}, "m large")
        # It also says what another one says: a record that is refused must not make that one a duplicate.
        requests = [one([view(f"u{n}", message_id=f"m{n}")]) for n in range(4)]
        requests.insert(at, one([large, view("u0", message_id="m0")]))
        outcomes = await _as_one_group(shard, requests)
        status = await refused(_raise(outcomes.pop(at)))
        assert status.code == code_pb2.INVALID_ARGUMENT and not retry_delay_ms(status), "again it would be as large"
        assert "over the limit of 4000" in status.message
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in status.details) and info.reason == "BATCH_TOO_LARGE"
        assert [each.outcomes[0].accepted for each in outcomes] == [1] * 4
        assert (await count(shard.client), shard.failures) == (5, [])

    async def look(shard: Shard) -> None:
        assert await count(shard.client) == 5

    run(tmp_path, test)
    run(tmp_path, look)


async def _raise(error: Exception) -> None:
    raise error


def test_a_batch_that_meets_a_defect_before_the_log_refuses_its_sender_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, syncs = Partition.admit, Counter[str]()

    def admit(partition: Partition, batch: Any, pending: Any) -> Any:
        if "poison" in batch.names:
            raise IndexError("poison")
        return real(partition, batch, pending)

    monkeypatch.setattr(Partition, "admit", admit)

    async def test(shard: Shard) -> None:
        requests = [one([view(f"u{n}", message_id=f"m{n}")]) for n in range(16)]
        requests[5] = one([Event(user("x"), "poison", NOW_MS)])
        before = shard.files.syncs
        outcomes = await _as_one_group(shard, requests)
        assert isinstance(outcomes.pop(5), IndexError)
        assert [each.outcomes[0].accepted for each in outcomes] == [1] * 15
        syncs["of the group"] = shard.files.syncs - before

    run(tmp_path, test)
    assert syncs["of the group"] <= 2 * 8, "by halves, not one by one"


def test_calls_are_answered_while_the_lock_of_a_partition_is_held(tmp_path: Path) -> None:
    """As long as a large batch is applied, or a snapshot exports: all that waits for the lock does so elsewhere."""

    async def test(shard: Shard) -> None:
        await shard.client.call(DELIVER, one([view("a")]), far_deadline())
        await asyncio.gather(shard.server.upkeep._maintaining, return_exceptions=True)
        lock, deadline = shard.server._store.partitions[PartitionId(0)]._lock, far_deadline()
        released = threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                released.wait()

        held = threading.Event()
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        capture = moving_pb2.CaptureViewsRequest(cluster=CLUSTER.cluster, partitions=epochs(0), token=b"t")
        rules = shard_pb2.ChangeRetentionRequest(cluster=CLUSTER.cluster, partitions=epochs(0))
        waiting = [
            asyncio.ensure_future(call)
            for call in (
                shard.client.call(READ_STATUS, shard_pb2.ReadStatusRequest(), deadline),
                shard.client.call(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), deadline),
                shard.client.call(CAPTURE_VIEWS, capture, deadline),
                shard.client.call(CHANGE_RETENTION, rules, deadline),
                shard.client.call(DELIVER, one([view("b")]), deadline),
                shard.client.call(EVALUATE, evaluation("everyone"), deadline),
            )
        ]
        document = shard_pb2.ReadDocumentRequest(cluster=CLUSTER.cluster, partition=2, name="x", epoch=1)
        for _ in range(3):  # the loop goes round, and answers what needs no lock
            await shard.client.call(READ_DOCUMENT, document, deadline)
            await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        released.set()
        await asyncio.gather(*waiting)
        holder.join()

    run(tmp_path, test)


def test_no_call_takes_the_lock_of_a_partition_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside those that the contract of clients holds to it."""
    real = Partition.__init__

    def begin(partition: Partition, *arguments: Any) -> None:
        real(partition, *arguments)
        partition._lock = OffTheLoop()  # type: ignore[assignment]

    monkeypatch.setattr(Partition, "__init__", begin)
    device, owner = encode_identifier(*anonymous("d")), encode_identifier(*user("a"))
    link = Links.of([(device, owner, 1, b"m")])
    ann = query_pb2.Identifier(kind="user_id", value="a")

    async def test(shard: Shard) -> None:
        client, deadline, cluster = shard.client, far_deadline(), CLUSTER.cluster
        request = delivery((0, batch_of([view("a")])))
        request.batches[0].links = encode_identity_change(link)
        assert list((await client.call(DELIVER, request, deadline)).outcomes)
        at = {"cluster": cluster, "partition": 0, "epoch": 1}
        views = moving_pb2.CaptureViewsRequest(
            cluster=cluster, partitions=epochs(0, 2), token=b"t", attributes=["plan"], as_of_ms=NOW_MS
        )
        await client.call(CAPTURE_VIEWS, views, deadline)
        held = moving_pb2.HeldViews(token=b"t")
        assert (await client.call(EVALUATE, evaluation("everyone", views=held), deadline)).count == 1
        await client.call(READ_IDENTITY, moving_pb2.ReadIdentityRequest(**at, identifier=ann), deadline)
        await client.call(CHANGE_IDENTITY, moving_pb2.ChangeIdentityRequest(**at), deadline)
        await client.call(
            DISCOVER_NAMES, shard_pb2.DiscoverNamesRequest(cluster=cluster, partitions=epochs(0, 2)), deadline
        )
        apart = Quarantined.of(batch_of([view("b")], b"apart"), ["why"], Links.of([]))
        quarantine = shard_pb2.ChangeQuarantineRequest(**at, change=encode_quarantine_change(apart))
        await client.call(CHANGE_QUARANTINE, quarantine, deadline)
        await client.call(READ_QUARANTINE, shard_pb2.ReadQuarantineRequest(**at), deadline)
        suppress = shard_pb2.ChangeSuppressionsRequest(cluster=cluster, partitions=epochs(0, 2), added=[b"f" * 16])
        await client.call(CHANGE_SUPPRESSIONS, suppress, deadline)
        scan = shard_pb2.ScanForIdentifiersRequest(cluster=cluster, identifiers=[ann], with_files=True)
        await client.call(SCAN_FOR_IDENTIFIERS, scan, deadline)
        await client.call(PURGE_FILES, shard_pb2.PurgeFilesRequest(cluster=cluster), deadline)
        await client.call(TAKE_SNAPSHOT, shard_pb2.TakeSnapshotRequest(), deadline)
        holdings = partition_pb2.ReadHoldingsRequest(cluster=cluster)
        assert (await client.call(READ_HOLDINGS, holdings, deadline)).holdings
        rules = [admin_pb2.RetentionRule(event="View", days=60)]
        change = shard_pb2.ChangeRetentionRequest(cluster=cluster, rules=rules, partitions=epochs(0, 2))
        await client.call(CHANGE_RETENTION, change, deadline)
        everything = shard_pb2.ReadAllRequest(cluster=cluster, partitions=epochs(0, 2))
        assert [each async for each in client.stream(READ_ALL, everything, deadline)]
        await asyncio.gather(shard.server.upkeep._maintaining, return_exceptions=True)
        assert not failed, "nor does what the shard does by itself"

    failed = list[str]()
    monkeypatch.setattr(Background, "_note", lambda _, name, error: failed.append(f"{name}: {error}"))
    run(tmp_path, test)
