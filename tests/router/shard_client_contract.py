"""What every ShardClient does: one suite, run against each implementation."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cdp.v1 import admin_pb2, partition_pb2, query_pb2, segment_pb2, shard_pb2
from google.rpc import code_pb2, status_pb2

from cdp_query.language import parse
from cdp_query.pipeline import segment_of
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import (
    CHANGE_RETENTION,
    DELIVER,
    ERASE_PROFILES,
    EVALUATE,
    LIST_MEMBERS,
    PROVE_USER,
    READ_ALL,
    READ_DIGEST,
    READ_DOCUMENT,
    READ_PROFILE,
    READ_RECEIPTS,
    READ_RECORDS,
    READ_SCHEMA,
    READ_STATUS,
    TAKE_SNAPSHOT,
    VERIFY_SNAPSHOTS,
    WRITE_DOCUMENT,
)
from cdp_router.contract.arrow_streams import from_stream
from cdp_router.contract.question_codec import to_question, to_segment
from cdp_router.contract.status import TRANSLATED, describe, retry_delay_ms
from cdp_router.deadline import Deadline
from cdp_router.shard.server import ShardServer
from cdp_store.directory.holdings import FIRST_EPOCH
from cdp_store.errors import StoreFailed
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch, encode_batch
from tests.raw_records import Change, Event, Record, user
from tests.router.encodings import DAY_MS
from tests.router.faulty_files import FaultyFiles
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock, far_deadline, open_store
from tests.shards import batch_of

OWN, OTHERS = 0, 1  # shard 0 of two owns the even partitions of four


@dataclass(slots=True)
class Shard:
    """A shard under test."""

    client: ShardClient
    server: ShardServer
    files: FaultyFiles
    failures: list[StoreFailed] = field(default_factory=list)


Connect = Callable[[ShardServer], AbstractAsyncContextManager[ShardClient]]
Test = Callable[[Shard], Coroutine[Any, Any, None]]


def view(name: str, days_ago: int = 0, message_id: str = "") -> Event:
    """An event of a user."""
    return Event(user(name), "View", NOW_MS - days_ago * DAY_MS, {"n": days_ago}, message_id)


def epochs(*partitions: int, epoch: int = FIRST_EPOCH) -> list[partition_pb2.PartitionEpoch]:
    """What a request is about."""
    return [partition_pb2.PartitionEpoch(partition=number, epoch=epoch) for number in partitions]


def delivery(*batches: tuple[int, RecordBatch], cluster: str = CLUSTER.cluster) -> shard_pb2.DeliverRequest:
    """A request to take batches for partitions."""
    encoded = [
        shard_pb2.PartitionBatch(partition=number, batch=encode_batch(batch), epoch=FIRST_EPOCH)
        for number, batch in batches
    ]
    return shard_pb2.DeliverRequest(cluster=cluster, batches=encoded)


def one(records: list[Record], batch_id: bytes = b"", partition: int = 0) -> shard_pb2.DeliverRequest:
    """A request to take one batch."""
    return delivery((partition, batch_of(records, batch_id)))


def evaluation(text: str, **changed: Any) -> shard_pb2.EvaluateRequest:
    """A question as the router sends it."""
    given = {"cluster": CLUSTER.cluster, "as_of_ms": NOW_MS, "tz": "UTC", "partitions": epochs(0, 2), **changed}
    return shard_pb2.EvaluateRequest(question=to_question(parse(text)), **given)


async def count(client: ShardClient, text: str = "everyone", **changed: Any) -> int:
    """How many of the shard's profiles a question holds for."""
    return (await client.call(EVALUATE, evaluation(text, **changed), far_deadline())).count


async def listed(client: ShardClient, text: str) -> tuple[list[bytes], list[tuple[int, int]]]:
    """(encoded identifiers, positions) of a segment's members."""
    segment = to_segment(parse(text))  # type: ignore[arg-type]
    request = shard_pb2.ListMembersRequest(
        cluster=CLUSTER.cluster, segment=segment, as_of_ms=NOW_MS, tz="UTC", partitions=epochs(0, 2)
    )
    found, positions = list[bytes](), list[tuple[int, int]]()
    async for response in client.stream(LIST_MEMBERS, request, far_deadline()):
        positions.extend((position.partition, position.sequence) for position in response.answered)
        if response.arrow:
            with pa.ipc.open_stream(response.arrow) as reader:
                found.extend(reader.read_all().column("identifier").to_pylist())
    return found, positions


async def refused(work: Any) -> status_pb2.Status:
    """The status a call fails with, however the implementation raises it."""
    with pytest.raises(TRANSLATED) as caught:
        await work
    assert isinstance(caught.value, Exception)
    return describe(caught.value)


class OffTheLoop:
    """A lock that only threads without an event loop may take: on one, all calls would wait with the one that does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        assert asyncio._get_running_loop() is None, "a lock is taken on the event loop"
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class ShardClientContract:
    """Subclasses say how a server is reached."""

    @pytest.fixture(autouse=True)
    def _no_lock_on_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a test of the contract calls takes no lock of a partition on the event loop."""
        real = Partition.__init__

        def begin(partition: Partition, *arguments: Any) -> None:
            real(partition, *arguments)
            partition._lock = OffTheLoop()  # type: ignore[assignment]

        monkeypatch.setattr(Partition, "__init__", begin)

    @asynccontextmanager
    async def connect(self, server: ShardServer) -> AsyncIterator[ShardClient]:
        """A client of the server."""
        raise NotImplementedError
        yield

    def run(self, folder: Path, test: Test) -> None:
        """Run a test against a fresh shard."""

        async def whole() -> None:
            files, failures = FaultyFiles(), list[StoreFailed]()
            store = await asyncio.to_thread(open_store, folder, OWN, files)
            server = ShardServer(store, failures.append, clock=FixedClock())
            try:
                async with self.connect(server) as client:
                    await test(Shard(client, server, files, failures))
            finally:
                files.may_sync.set()
                await server.close()

        asyncio.run(whole())

    def test_what_is_delivered_is_logged_applied_and_counted(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            response = await shard.client.call(
                DELIVER, delivery((0, batch_of([view("a"), view("b")])), (2, batch_of([view("c")]))), far_deadline()
            )
            found = [(item.partition, item.sequence, item.accepted, item.duplicates) for item in response.outcomes]
            assert found == [(0, 1, 2, 0), (2, 1, 1, 0)]
            assert await count(shard.client) == 3
            again = await shard.client.call(DELIVER, one([view("d")]), far_deadline())
            assert [item.sequence for item in again.outcomes] == [2]

        self.run(tmp_path, test)

    def test_what_was_acknowledged_is_there_after_a_restart(self, tmp_path: Path) -> None:
        async def fill(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a"), view("b")], b"b1"), far_deadline())

        async def look(shard: Shard) -> None:
            assert await count(shard.client) == 2
            again = await shard.client.call(DELIVER, one([view("a"), view("b")], b"b1"), far_deadline())
            assert [(item.accepted, item.duplicates) for item in again.outcomes] == [(0, 2)]
            assert await count(shard.client, 'count("View") = 1') == 2

        self.run(tmp_path, fill)
        self.run(tmp_path, look)

    def test_a_batch_id_is_taken_once(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            request = one([view("a"), view("b")], b"b1")
            outcomes = [(await shard.client.call(DELIVER, request, far_deadline())).outcomes[0] for _ in range(2)]
            assert [(item.accepted, item.duplicates, item.sequence) for item in outcomes] == [(2, 0, 1), (0, 2, 1)]
            other = await shard.client.call(DELIVER, one([view("c")], b"b1", partition=2), far_deadline())
            assert other.outcomes[0].accepted == 1
            assert await count(shard.client, 'count("View") = 1') == 3

        self.run(tmp_path, test)

    def test_a_message_id_is_taken_once_inside_a_batch_and_across_batches(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            first = [view("a", 0, "m1"), view("a", 1, "m1"), view("a", 2, "m2"), view("a", 3), view("a", 3)]
            response = await shard.client.call(DELIVER, one(first, b"b1"), far_deadline())
            assert [(item.accepted, item.duplicates) for item in response.outcomes] == [(4, 1)]
            second = [view("a", 5, "m2"), view("a", 5, "m3")]
            response = await shard.client.call(DELIVER, one(second, b"b2"), far_deadline())
            assert [(item.accepted, item.duplicates) for item in response.outcomes] == [(1, 1)]
            assert await count(shard.client, 'count("View") = 5') == 1

        self.run(tmp_path, test)

    def test_the_same_ids_sent_at_the_same_time_are_taken_once(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            requests = [one([view("a", n, "m1")], b"b%d" % (n % 2)) for n in range(6)]
            responses = await asyncio.gather(*(shard.client.call(DELIVER, item, far_deadline()) for item in requests))
            taken = [response.outcomes[0] for response in responses]
            assert sum(item.accepted for item in taken) == 1
            assert sum(item.duplicates for item in taken) == 5
            assert await count(shard.client, 'count("View") = 1') == 1

        self.run(tmp_path, test)

    def test_deliveries_that_arrive_during_a_sync_share_the_next_one(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            shard.files.may_sync.clear()
            shard.files.syncing.clear()
            before = shard.files.syncs
            first = asyncio.create_task(shard.client.call(DELIVER, one([view("a")], b"b0"), far_deadline()))
            await asyncio.to_thread(shard.files.syncing.wait)
            rest = [
                asyncio.create_task(shard.client.call(DELIVER, one([view(f"u{n}")], b"b%d" % n), far_deadline()))
                for n in range(1, 9)
            ]
            while shard.server.commits.waiting_count < len(rest):
                await asyncio.sleep(0)
            assert not first.done()
            shard.files.may_sync.set()
            responses = await asyncio.gather(first, *rest)
            assert shard.files.syncs == before + 2
            assert [response.outcomes[0].accepted for response in responses] == [1] * 9
            assert sorted(response.outcomes[0].sequence for response in responses) == list(range(1, 10))
            assert await count(shard.client) == 9

        self.run(tmp_path, test)

    def test_nothing_is_visible_before_it_is_durable(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            shard.files.may_sync.clear()
            shard.files.syncing.clear()
            waiting = asyncio.create_task(shard.client.call(DELIVER, one([view("a")]), far_deadline()))
            await asyncio.to_thread(shard.files.syncing.wait)
            assert await count(shard.client) == 0
            shard.files.may_sync.set()
            await waiting
            assert await count(shard.client) == 1

        self.run(tmp_path, test)

    def test_a_full_disk_leaves_nothing_behind_and_may_be_tried_again(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")], b"b1"), far_deadline())
            shard.files.room = 20
            status = await refused(shard.client.call(DELIVER, one([view("b", 0, "m1")], b"b2"), far_deadline()))
            assert status.code == code_pb2.RESOURCE_EXHAUSTED
            assert retry_delay_ms(status) > 0
            assert await count(shard.client) == 1
            shard.files.room = None
            response = await shard.client.call(DELIVER, one([view("b", 0, "m1")], b"b2"), far_deadline())
            assert [(item.accepted, item.sequence) for item in response.outcomes] == [(1, 2)]
            assert await count(shard.client) == 2
            assert not shard.failures

        async def look(shard: Shard) -> None:
            assert await count(shard.client, 'count("View") = 1') == 2

        self.run(tmp_path, test)
        self.run(tmp_path, look)

    def test_after_a_failed_sync_nothing_is_taken_any_more_and_the_process_is_told(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            shard.files.sync_error = OSError(errno.EIO, "Input/output error")
            for n in range(2):
                status = await refused(shard.client.call(DELIVER, one([view(f"b{n}")]), far_deadline()))
                assert status.code == code_pb2.UNAVAILABLE
            shard.files.sync_error = None
            assert (
                await refused(shard.client.call(DELIVER, one([view("c")]), far_deadline()))
            ).code == code_pb2.UNAVAILABLE
            assert len(shard.failures) >= 1
            assert await count(shard.client) == 1

        self.run(tmp_path, test)

    def test_a_record_beyond_the_limits_of_a_partition_is_refused_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def test(shard: Shard) -> None:
            partition = next(iter(shard.server._store.partitions.values()))
            monkeypatch.setattr(partition._memory.schema.events, "limit", 1)
            records = [view("a"), Event(user("b"), "Other", NOW_MS), view("c")]
            [outcome] = (await shard.client.call(DELIVER, one(list(records)), far_deadline())).outcomes
            assert (outcome.accepted, outcome.duplicates) == (2, 0)
            assert [(error.index, error.code) for error in outcome.errors] == [(1, "EVENT_NAMES_LIMIT")]
            assert await count(shard.client) == 2

        self.run(tmp_path, test)

    def test_another_clusters_router_is_refused(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            batch = (0, batch_of([view("a")]))
            calls = [
                shard.client.call(DELIVER, delivery(batch, cluster="theirs"), far_deadline()),
                shard.client.call(EVALUATE, evaluation("everyone", cluster="theirs"), far_deadline()),
                shard.client.call(READ_PROFILE, shard_pb2.ReadProfileRequest(cluster="theirs"), far_deadline()),
                anext(
                    shard.client.stream(LIST_MEMBERS, shard_pb2.ListMembersRequest(cluster="theirs"), far_deadline())
                ),
                anext(shard.client.stream(READ_ALL, shard_pb2.ReadAllRequest(cluster="theirs"), far_deadline())),
            ]
            for call in calls:
                status = await refused(call)
                assert status.code == code_pb2.FAILED_PRECONDITION
                assert "theirs" in status.message
            assert await count(shard.client) == 0

        self.run(tmp_path, test)

    def test_a_partition_of_another_shard_is_refused_whole(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            request = delivery((0, batch_of([view("a")])), (OTHERS, batch_of([view("b")])))
            status = await refused(shard.client.call(DELIVER, request, far_deadline()))
            # As by another map: who asks may know the cluster as it was before a restore.
            assert status.code == code_pb2.ABORTED and f"{OTHERS} (never on this shard)" in status.message
            assert await count(shard.client) == 0

        self.run(tmp_path, test)

    @pytest.mark.parametrize("epoch", [0, 2])
    def test_another_epoch_of_the_map_is_refused_with_the_shards_claim(self, tmp_path: Path, epoch: int) -> None:
        async def test(shard: Shard) -> None:
            deliver = delivery((0, batch_of([view("a")])), (2, batch_of([view("b")])))
            profile, proof, erasure = _profile("a", partition=2), _question_about("a"), _erasure("a", 2)
            proof.partition = 2
            for request in (deliver.batches[1], profile, proof, erasure):
                request.epoch = epoch
            asked = [*epochs(0), *epochs(2, epoch=epoch)]
            members = shard_pb2.ListMembersRequest(
                cluster=CLUSTER.cluster, segment=proof.segment, as_of_ms=NOW_MS, tz="UTC", partitions=asked
            )
            retention = shard_pb2.ChangeRetentionRequest(
                cluster=CLUSTER.cluster, rules=[admin_pb2.RetentionRule(event="View", days=60)], partitions=asked
            )
            digests = shard_pb2.ReadDigestRequest(cluster=CLUSTER.cluster, partitions=asked)
            everything = shard_pb2.ReadAllRequest(cluster=CLUSTER.cluster, partitions=asked)
            client, deadline = shard.client, far_deadline()
            for call in (
                client.call(DELIVER, deliver, deadline),
                client.call(EVALUATE, evaluation("everyone", partitions=asked), deadline),
                anext(client.stream(LIST_MEMBERS, members, deadline)),
                anext(client.stream(READ_ALL, everything, deadline)),
                client.call(READ_PROFILE, profile, deadline),
                client.call(PROVE_USER, proof, deadline),
                client.call(ERASE_PROFILES, erasure, deadline),
                client.call(CHANGE_RETENTION, retention, deadline),
                client.call(READ_DIGEST, digests, deadline),
            ):
                status, mismatch = await refused(call), partition_pb2.EpochMismatch()
                assert status.code == code_pb2.ABORTED
                assert any(detail.Unpack(mismatch) for detail in status.details)
                assert [(each.partition, each.epoch, each.shard) for each in mismatch.claims] == [(2, 1, OWN)]
            sizes = (await client.call(READ_STATUS, shard_pb2.ReadStatusRequest(), deadline)).partitions
            assert [(size.sequence, size.epoch) for size in sizes] == [(0, 1), (0, 1)], "nothing was changed"

        self.run(tmp_path, test)

    def test_a_document_is_replaced_only_by_whoever_has_read_it_last(self, tmp_path: Path) -> None:
        async def write(shard: Shard, expected: int, content: bytes) -> tuple[bool, int]:
            request = shard_pb2.WriteDocumentRequest(
                cluster=CLUSTER.cluster, partition=0, name="d", expected_version=expected, content=content, epoch=1
            )
            found = await shard.client.call(WRITE_DOCUMENT, request, far_deadline())
            return found.written, found.version

        async def read(shard: Shard, known: int = 0, epoch: int = 1) -> tuple[int, bytes]:
            request = shard_pb2.ReadDocumentRequest(
                cluster=CLUSTER.cluster, partition=0, name="d", known_version=known, epoch=epoch
            )
            found = await shard.client.call(READ_DOCUMENT, request, far_deadline())
            return found.version, found.content

        async def test(shard: Shard) -> None:
            assert await read(shard) == (0, b"")
            assert await write(shard, 0, b"one") == (True, 1)
            assert await write(shard, 0, b"one") == (True, 1), "the answer to the first try may have been lost"
            assert await write(shard, 0, b"other") == (False, 1)
            assert await write(shard, 1, b"two") == (True, 2)
            assert [await read(shard), await read(shard, 1), await read(shard, 2)] == [
                (2, b"two"),
                (2, b"two"),
                (2, b""),
            ]
            assert (await refused(read(shard, epoch=2))).code == code_pb2.ABORTED
            shard.files.room = 1
            assert (await refused(write(shard, 2, b"three"))).code == code_pb2.RESOURCE_EXHAUSTED
            assert await read(shard) == (2, b"two")

        async def look(shard: Shard) -> None:
            assert await read(shard) == (2, b"two")

        self.run(tmp_path, test)
        self.run(tmp_path, look)

    def test_digests_are_of_the_partitions_asked_for(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")], partition=2), far_deadline())
            request = shard_pb2.ReadDigestRequest(cluster=CLUSTER.cluster, partitions=epochs(2))
            [found] = (await shard.client.call(READ_DIGEST, request, far_deadline())).partitions
            assert (found.partition, found.sequence) == (2, 1)
            assert int(found.digest, 16) > 0

        self.run(tmp_path, test)

    def test_snapshots_are_taken_checked_and_say_what_they_hold(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            order = shard_pb2.TakeSnapshotRequest(destination=str(tmp_path / "copy"))
            taken = (await shard.client.call(TAKE_SNAPSHOT, order, far_deadline())).snapshot
            assert (taken.shard, taken.number, list(taken.partitions)) == (OWN, 1, [0, 2])
            found = (
                await shard.client.call(
                    VERIFY_SNAPSHOTS, shard_pb2.ShardServiceVerifySnapshotsRequest(), far_deadline()
                )
            ).result
            assert (found.snapshots, found.files, len(found.problems)) == (1, taken.files_written, 0)
            assert any((tmp_path / "copy" / f"shard-{OWN}" / "snapshots").iterdir())

        self.run(tmp_path, test)

    @pytest.mark.parametrize("packed", [b"", b"\x80", b"garbage", b"\x90", encode_batch(batch_of([view("a")]))[:-3]])
    def test_bytes_that_are_no_batch_are_refused(self, tmp_path: Path, packed: bytes) -> None:
        async def test(shard: Shard) -> None:
            part = shard_pb2.PartitionBatch(partition=0, batch=packed, epoch=FIRST_EPOCH)
            request = shard_pb2.DeliverRequest(cluster=CLUSTER.cluster, batches=[part])
            assert (
                await refused(shard.client.call(DELIVER, request, far_deadline()))
            ).code == code_pb2.INVALID_ARGUMENT
            await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            assert await count(shard.client) == 1

        self.run(tmp_path, test)

    def test_an_evaluation_covers_the_shards_partitions_with_their_positions(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            for _ in range(2):
                await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            response = await shard.client.call(EVALUATE, evaluation('count("View") = 2 and plan = 1'), far_deadline())
            assert [(item.partition, item.sequence) for item in response.answered] == [(0, 2), (2, 0)]
            assert (response.count, response.population) == (0, 1)
            assert list(response.known.events) == ["View"]
            assert not response.known.attributes
            assert {counters.node for counters in response.counters} >= {0, 1, 2}

        self.run(tmp_path, test)

    def test_breakdowns_and_funnels_are_merged_over_the_partitions(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            for partition in (0, 2):
                records = [
                    Change(user(f"u{partition}"), NOW_MS, {"plan": "gold"}),
                    view(f"u{partition}", 2),
                    view(f"u{partition}"),
                ]
                await shard.client.call(DELIVER, one(list(records), partition=partition), far_deadline())
            funnel = await shard.client.call(EVALUATE, evaluation('funnel("View" -> "View" -> "View")'), far_deadline())
            assert list(funnel.steps) == [2, 2, 0]
            request = evaluation("everyone")
            request.question.CopyFrom(
                segment_pb2.Question(
                    breakdown=segment_pb2.Breakdown(segment=to_segment(parse("everyone")), attribute="plan")  # type: ignore[arg-type]
                )
            )
            values = (await shard.client.call(EVALUATE, request, far_deadline())).values
            assert [(row.value.text, row.count) for row in values] == [("gold", 2)]

        self.run(tmp_path, test)

    def test_as_of_and_the_time_zone_are_those_of_the_request(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a", 3)]), far_deadline())
            assert await count(shard.client, as_of_ms=NOW_MS - 3 * DAY_MS - 1) == 0
            assert await count(shard.client, as_of_ms=NOW_MS - 3 * DAY_MS) == 1
            # Midnight UTC is still the day before in New York.
            assert await count(shard.client, 'did("View", days_ago: 3)') == 1
            assert await count(shard.client, 'did("View", days_ago: 3)', tz="America/New_York") == 1
            noon = NOW_MS + DAY_MS // 2
            assert await count(shard.client, 'did("View", days_ago: 4)', tz="America/New_York", as_of_ms=noon) == 1
            assert await count(shard.client, 'did("View", days_ago: 3)', as_of_ms=noon) == 1

        self.run(tmp_path, test)

    def test_a_question_without_meaning_is_refused(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            for request in (
                shard_pb2.EvaluateRequest(cluster=CLUSTER.cluster, partitions=epochs(0)),
                evaluation("everyone", partitions=[]),
                evaluation('did("View", last: 1d)', tz="Mars/Olympus"),
                evaluation('did("View", ago: 60d..30d)'),
            ):
                assert (
                    await refused(shard.client.call(EVALUATE, request, far_deadline()))
                ).code == code_pb2.INVALID_ARGUMENT

        self.run(tmp_path, test)

    def test_an_evaluation_beyond_its_deadline_ends_as_such(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            late = Deadline.after(0.0, 0.0)
            assert (
                await refused(shard.client.call(EVALUATE, evaluation('did("View")'), late))
            ).code == code_pb2.DEADLINE_EXCEEDED

        self.run(tmp_path, test)

    def test_members_are_listed_with_the_position_of_every_partition(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            assert await listed(shard.client, "everyone") == ([], [(0, 0), (2, 0)])
            await shard.client.call(DELIVER, one([view("a"), view("b", 9), view("größe")]), far_deadline())
            await shard.client.call(DELIVER, one([view("c")], partition=2), far_deadline())
            found, positions = await listed(shard.client, 'did("View", last: 1d)')
            assert sorted(found) == sorted([b"ua", "ugröße".encode(), b"uc"])
            assert positions == [(0, 1), (2, 1)]

        self.run(tmp_path, test)

    def test_many_members_come_in_pieces_without_loss(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cdp_router.shard.member_pages.MEMBERS_AT_ONCE", 7)
        monkeypatch.setattr("cdp_router.shard.member_pages.MEMBER_MESSAGE_BYTES", 100)

        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view(f"u{n}") for n in range(50)]), far_deadline())
            found, positions = await listed(shard.client, "everyone")
            assert sorted(found) == sorted(b"uu%d" % n for n in range(50))
            assert positions == [(0, 1), (2, 0)]

        self.run(tmp_path, test)

    def test_a_profile_is_read_with_its_latest_events_first(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            records = [view("a", 2), view("a", 5), view("a", 1), Change(user("a"), NOW_MS, {"plan": "gold"})]
            await shard.client.call(DELIVER, one(list(records)), far_deadline())
            response = await shard.client.call(READ_PROFILE, _profile("a", 2), far_deadline())
            assert response.found
            profile = response.profile
            assert [(item.kind, item.value) for item in profile.identifiers] == [("user_id", "a")]
            assert profile.created.ToMilliseconds() == NOW_MS - 5 * DAY_MS
            assert {name: value.text for name, value in profile.attributes.items()} == {"plan": "gold"}
            assert [event.properties["n"].integer for event in profile.events] == [1, 2]
            assert profile.event_count == 3
            assert profile.partition == 0
            assert not (await shard.client.call(READ_PROFILE, _profile("b"), far_deadline())).found
            assert not (await shard.client.call(READ_PROFILE, _profile("a", partition=2), far_deadline())).found

        self.run(tmp_path, test)

    def test_all_of_a_profile_is_read_with_how_it_came_in(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            for records in (
                [Event(user("a"), "View", NOW_MS - 5, {"n": n}, f"m{n}") for n in range(3)],
                [Event(user("a"), "Buy", NOW_MS - 5), Event(user("b"), "View", NOW_MS - 5, {}, "of b")],
                [Event(user("a"), "View", NOW_MS - 9, {"n": 3}, "m3"), Change(user("a"), NOW_MS, {"plan": "x"}, "m4")],
            ):
                await shard.client.call(DELIVER, one(list(records)), far_deadline())
            asked = query_pb2.Identifier(kind="user_id", value="a")
            for _ in range(2):
                request = shard_pb2.ReadRecordsRequest(cluster=CLUSTER.cluster, partition=0, epoch=1, identifier=asked)
                page = await shard.client.call(READ_RECORDS, request, far_deadline())
                records = from_stream(page.arrow)
                assert records.column("event").to_pylist() == ["View", "View", "View", "View", "Buy", None]
                assert set(records.column("source").to_pylist()) == {"ua"}
                assert page.found and not page.HasField("next")
                wanted = shard_pb2.ReadReceiptsRequest(
                    cluster=CLUSTER.cluster, partition=0, epoch=1, identifiers=[asked], from_ms=NOW_MS - 5
                )
                receipts = from_stream((await shard.client.call(READ_RECEIPTS, wanted, far_deadline())).arrow)
                assert receipts.column("message_id").to_pylist() == ["m0", "m1", "m2", None, "m4"]
                request.identifier.value = "nobody"
                assert not (await shard.client.call(READ_RECORDS, request, far_deadline())).found
                await shard.client.call(TAKE_SNAPSHOT, shard_pb2.TakeSnapshotRequest(), far_deadline())

        self.run(tmp_path, test)

    @pytest.mark.parametrize("kind", ["", "E-mail"])
    def test_a_kind_of_identifier_there_is_not_is_refused(self, tmp_path: Path, kind: str) -> None:
        async def test(shard: Shard) -> None:
            request = _profile("a")
            request.identifier.kind = kind
            assert (
                await refused(shard.client.call(READ_PROFILE, request, far_deadline()))
            ).code == code_pb2.INVALID_ARGUMENT

        self.run(tmp_path, test)

    def test_the_verdict_on_a_user_is_explained(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            records = [view("a", 2), view("a", 5), Change(user("a"), NOW_MS, {"plan": "gold"})]
            await shard.client.call(DELIVER, one(list(records)), far_deadline())
            response = await shard.client.call(PROVE_USER, _question_about("a"), far_deadline())
            assert response.found
            proof = response.proof
            assert (proof.member, proof.in_population, proof.proof.text) == (False, True, "all of")
            plan, viewed = proof.proof.parts
            assert (plan.holds, plan.values[0].value.text) == (True, "gold")
            assert (viewed.holds, viewed.event_count) == (False, 1)
            assert [event.properties["n"].integer for event in viewed.events] == [2]
            assert proof.position.partition == 0
            assert not (await shard.client.call(PROVE_USER, _question_about("b"), far_deadline())).found
            wrong = _question_about("a")
            wrong.identifier.kind = "E-mail"
            assert (
                await refused(shard.client.call(PROVE_USER, wrong, far_deadline()))
            ).code == code_pb2.INVALID_ARGUMENT

        self.run(tmp_path, test)

    def test_an_erased_profile_is_gone_at_once_and_after_a_restart(self, tmp_path: Path) -> None:
        async def erase(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a"), view("b")]), far_deadline())
            done = await shard.client.call(ERASE_PROFILES, _erasure("a"), far_deadline())
            assert (done.sequence, done.erased) == (2, 1)
            again = await shard.client.call(ERASE_PROFILES, _erasure("a"), far_deadline())
            assert (again.sequence, again.erased) == (2, 0), "nothing is logged for nobody"

        async def look(shard: Shard) -> None:
            assert await listed(shard.client, "everyone") == ([b"ub"], [(0, 2), (2, 0)])
            assert not (await shard.client.call(READ_PROFILE, _profile("a"), far_deadline())).found
            assert (await shard.client.call(READ_STATUS, shard_pb2.ReadStatusRequest(), far_deadline())).partitions[
                0
            ].profiles == 1

        async def both(shard: Shard) -> None:
            await erase(shard)
            await look(shard)

        self.run(tmp_path, both)
        self.run(tmp_path, look)

    def test_an_erasure_by_an_unknown_kind_of_identifier_is_refused(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            request = _erasure("a")
            request.identifiers[0].kind = "Shoe size"
            status = await refused(shard.client.call(ERASE_PROFILES, request, far_deadline()))
            assert status.code == code_pb2.INVALID_ARGUMENT
            assert "Shoe size" in status.message

        self.run(tmp_path, test)

    def test_an_erasure_that_cannot_be_logged_changes_nothing(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            shard.files.sync_error = OSError(errno.EIO, "broken")
            status = await refused(shard.client.call(ERASE_PROFILES, _erasure("a"), far_deadline()))
            assert status.code == code_pb2.UNAVAILABLE
            assert await count(shard.client) == 1
            assert len(shard.failures) == 1

        self.run(tmp_path, test)

    def test_rules_of_retention_drop_old_events_now_and_after_a_restart(self, tmp_path: Path) -> None:
        rules = [admin_pb2.RetentionRule(event="View", days=60), admin_pb2.RetentionRule(event="", days=0)]

        async def change(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a", 500), view("a", 1)]), far_deadline())
            await shard.client.call(DELIVER, one([view("c", 1)], partition=2), far_deadline())
            request = shard_pb2.ChangeRetentionRequest(cluster=CLUSTER.cluster, rules=rules, partitions=epochs(0, 2))
            changed = await shard.client.call(CHANGE_RETENTION, request, far_deadline())
            assert [(rule.event, rule.days) for rule in changed.rules] == [("", 0), ("View", 60)]
            assert [item.event for item in changed.retained] == ["View"]

        async def look(shard: Shard) -> None:
            found = await shard.client.call(
                CHANGE_RETENTION,
                shard_pb2.ChangeRetentionRequest(cluster=CLUSTER.cluster, partitions=epochs(0, 2)),
                far_deadline(),
            )
            assert [(rule.event, rule.days) for rule in found.rules] == [("", 0), ("View", 60)]
            assert 0 < NOW_MS - found.retained[0].since.ToMilliseconds() - 60 * DAY_MS < 28 * DAY_MS
            profile = await shard.client.call(READ_PROFILE, _profile("a"), far_deadline())
            assert profile.profile.event_count == 1
            assert await count(shard.client) == 2

        async def both(shard: Shard) -> None:
            await change(shard)
            await look(shard)

        self.run(tmp_path, both)
        self.run(tmp_path, look)

    def test_the_status_tells_sizes(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a"), view("a"), view("b")]), far_deadline())
            response = await shard.client.call(READ_STATUS, shard_pb2.ReadStatusRequest(), far_deadline())
            found = [(item.partition, item.sequence, item.profiles, item.events) for item in response.partitions]
            assert found == [(0, 1, 2, 3), (2, 0, 0, 0)]
            assert response.partitions[0].unsealed == 3
            assert sum(response.partitions[0].memory.values()) > 0
            assert response.resident_bytes > 1 << 20
            assert response.cluster == CLUSTER.cluster

        self.run(tmp_path, test)

    def test_the_schema_tells_names_of_all_partitions(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            await shard.client.call(DELIVER, one([view("a")]), far_deadline())
            await shard.client.call(DELIVER, one([Change(user("c"), NOW_MS, {"plan": 1})], partition=2), far_deadline())
            names = (await shard.client.call(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), far_deadline())).names
            assert (list(names.events), list(names.properties), list(names.attributes)) == (["View"], ["n"], ["plan"])

        self.run(tmp_path, test)

    def test_a_sender_that_goes_away_does_not_undo_its_batch(self, tmp_path: Path) -> None:
        async def test(shard: Shard) -> None:
            shard.files.may_sync.clear()
            shard.files.syncing.clear()
            waiting = asyncio.create_task(shard.client.call(DELIVER, one([view("a")], b"b1"), far_deadline()))
            await asyncio.to_thread(shard.files.syncing.wait)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            shard.files.may_sync.set()
            again = await shard.client.call(DELIVER, one([view("a")], b"b1"), far_deadline())
            assert [(item.accepted, item.duplicates) for item in again.outcomes] == [(0, 1)]
            assert await count(shard.client, 'count("View") = 1') == 1

        self.run(tmp_path, test)


def _question_about(name: str) -> shard_pb2.ProveUserRequest:
    segment = to_segment(segment_of(parse('plan = "gold" and count("View", last: 3d) >= 2')))
    identifier = query_pb2.Identifier(kind="user_id", value=name)
    return shard_pb2.ProveUserRequest(
        cluster=CLUSTER.cluster, partition=0, identifier=identifier, segment=segment, as_of_ms=NOW_MS, epoch=1
    )


def _profile(name: str, events_max: int = 10, partition: int = 0) -> shard_pb2.ReadProfileRequest:
    identifier = query_pb2.Identifier(kind="user_id", value=name)
    return shard_pb2.ReadProfileRequest(
        cluster=CLUSTER.cluster, partition=partition, identifier=identifier, events_max=events_max, epoch=1
    )


def _erasure(name: str, partition: int = 0) -> shard_pb2.EraseProfilesRequest:
    identifiers = [query_pb2.Identifier(kind="user_id", value=name)]
    return shard_pb2.EraseProfilesRequest(
        cluster=CLUSTER.cluster, partition=partition, identifiers=identifiers, epoch=1
    )
