"""What a shard does, without a socket: group commit, evaluation on worker threads, reading profiles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import psutil
import pyarrow as pa
from cdp.v1 import admin_pb2, ingest_pb2, query_pb2, segment_pb2, shard_pb2

from cdp_query import pipeline
from cdp_query.bind import Binder, Names
from cdp_query.partial import merge_all
from cdp_query.proof import prove
from cdp_query.tree import Context, Node
from cdp_router.deadline import Deadline, monotonic_ms
from cdp_router.errors import RequestInvalid, WrongCluster
from cdp_router.limits import PROOF_SHOWN_MAX
from cdp_router.memory_budget import MemoryBudget
from cdp_router.profile_reading import read_profile
from cdp_router.proofs import to_response
from cdp_router.wire.partials import to_evaluation, to_names
from cdp_router.wire.questions import from_question
from cdp_router.wire.retention import latest, listed
from cdp_router.wire.segments import from_segment
from cdp_store.digest import digest
from cdp_store.errors import SnapshotFailed, StoreFailed
from cdp_store.ids import IDENTIFIER_KINDS, PartitionId, encode_identifier
from cdp_store.limits import COMMIT_GROUP_BYTES_MAX, LOG_SYNC_INTERVAL_MS
from cdp_store.log.sync_mode import SyncMode
from cdp_store.partition import Partition
from cdp_store.records import decode_batch
from cdp_store.seams import Clock, SystemClock
from cdp_store.snapshot.keeper import copy_snapshot
from cdp_store.snapshot.places import place_at
from cdp_store.store import Delivery, Outcome, Store
from cdp_store.view import PartitionView

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)
_MEMBER_ROWS_PER_BATCH = 65_536
_IDLE_SECONDS = 1.0
_RETAIN_SECONDS = 3600.0


@dataclass(slots=True)
class _Waiting:
    deliveries: list[Delivery]
    size: int
    done: asyncio.Future[list[Outcome]]


class ShardServer:
    """One shard's store behind asynchronous calls; every method takes and gives messages of cdp.v1."""

    def __init__(
        self,
        store: Store,
        on_failure: Callable[[StoreFailed], None],
        query_threads: int = 2,
        clock: Clock | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._store, self._on_failure, self._clock = store, on_failure, clock or SystemClock()
        self._retaining: asyncio.Task[bool] | None = None
        self._next_retaining: asyncio.TimerHandle | None = None
        self._budget = budget
        self._waiting = list[_Waiting]()
        self._committing: asyncio.Task[None] | None = None
        self._maintaining: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._commit_thread = ThreadPoolExecutor(1, "commit")
        self._maintenance_thread = ThreadPoolExecutor(1, "maintain")
        self._snapshot_thread = ThreadPoolExecutor(1, "snapshot")
        self._query_threads = ThreadPoolExecutor(query_threads, "query")

    async def deliver(self, request: shard_pb2.DeliverRequest) -> shard_pb2.DeliverResponse:
        """Log, apply and acknowledge; concurrent deliveries share one sync. Overloaded when memory gets short."""
        self._check_cluster(request.cluster)
        size = sum(len(item.batch) for item in request.batches)
        if self._budget is not None:
            self._budget.admit(size + sum(waiting.size for waiting in self._waiting))
        deliveries = [
            Delivery(self._partition(item.partition).partition, decode_batch(item.batch)) for item in request.batches
        ]
        waiting = _Waiting(deliveries, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_waiting())
        # A caller that goes away must not undo a batch that is being logged.
        outcomes = await asyncio.shield(waiting.done)
        return shard_pb2.DeliverResponse(outcomes=map(_to_outcome, deliveries, outcomes))

    async def evaluate(self, request: shard_pb2.EvaluateRequest, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        """The merged contribution of all partitions of this shard."""
        self._check_cluster(request.cluster)
        context = Context(request.as_of_ms, request.tz or "UTC", not request.exclude_anonymous)
        return await self._in_query_thread(lambda: self._evaluate(request.question, context, deadline))

    async def list_members(
        self, request: shard_pb2.ListMembersRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ListMembersResponse]:
        """Identifiers of members, one partition after the other."""
        self._check_cluster(request.cluster)
        context = Context(request.as_of_ms, request.tz or "UTC", not request.exclude_anonymous)
        segment, binder = from_segment(request.segment), Binder(context)
        for partition in self._store.partitions.values():
            view = partition.capture()
            rows = await self._in_query_thread(partial(pipeline.members, segment, view, binder, deadline.check))
            position = ingest_pb2.PartitionPosition(partition=partition.partition, sequence=view.sequence)
            for start in range(0, rows.shape[0], _MEMBER_ROWS_PER_BATCH):
                part = rows[start : start + _MEMBER_ROWS_PER_BATCH].astype(np.int64)
                yield shard_pb2.ListMembersResponse(arrow=_identifier_stream(view, part))
            yield shard_pb2.ListMembersResponse(position=position)

    async def read_profile(self, request: shard_pb2.ReadProfileRequest) -> shard_pb2.ReadProfileResponse:
        """One profile with its latest events."""
        self._check_cluster(request.cluster)
        partition = self._partition(request.partition)
        identifier = _encoded(request.identifier)
        profile = await self._in_query_thread(lambda: read_profile(partition, identifier, request.events_max))
        return shard_pb2.ReadProfileResponse(found=profile is not None, profile=profile)

    async def prove_user(self, request: shard_pb2.ProveUserRequest, deadline: Deadline) -> shard_pb2.ProveUserResponse:
        """The verdict on one user, with what decided it."""
        self._check_cluster(request.cluster)
        partition = self._partition(request.partition)
        identifier = _encoded(request.identifier)
        context = Context(request.as_of_ms, request.tz or "UTC", not request.exclude_anonymous)
        segment = from_segment(request.segment)
        return await self._in_query_thread(lambda: _proved(partition, identifier, segment, context, deadline))

    async def erase(self, request: shard_pb2.EraseProfilesRequest) -> shard_pb2.EraseProfilesResponse:
        """Forget profiles: logged and out of every answer when this returns, out of memory soon after."""
        self._check_cluster(request.cluster)
        partition = self._partition(request.partition).partition
        identifiers = [_encoded(identifier) for identifier in request.identifiers]
        sequence, erased = await self._between_commits(partial(self._store.erase, partition, identifiers))
        self._maintain_soon()
        return shard_pb2.EraseProfilesResponse(sequence=sequence, erased=erased)

    async def change_retention(self, request: shard_pb2.ChangeRetentionRequest) -> shard_pb2.ChangeRetentionResponse:
        """Change rules of retention, drop what they want dropped, and say which rules there are."""
        self._check_cluster(request.cluster)
        if request.rules:
            days = {rule.event: rule.days for rule in request.rules}
            await self._between_commits(partial(self._store.set_retention, days, self._clock.now_ms()))
        partitions = self._store.partitions.values()
        days = {name: number for partition in partitions for name, number in partition.retention_days().items()}
        return listed(days, latest(cutoff for partition in partitions for cutoff in partition.cutoffs().items()))

    def retain_hourly(self) -> None:
        """Drop events that have grown older than their rule of retention wants, now and every hour."""
        loop = asyncio.get_running_loop()
        self._retaining = loop.create_task(self._between_commits(partial(self._store.retain, self._clock.now_ms())))
        self._next_retaining = loop.call_later(_RETAIN_SECONDS, self.retain_hourly)

    def read_status(self) -> shard_pb2.ReadStatusResponse:
        """Sizes of the partitions and of the process."""
        sizes = [partition.status() for partition in self._store.partitions.values()]
        statuses = [
            admin_pb2.PartitionStatus(
                partition=size.partition,
                sequence=size.sequence,
                profiles=size.profiles,
                events=size.events,
                unsealed=size.unsealed,
                memory=size.memory,
            )
            for size in sizes
        ]
        resident = psutil.Process().memory_info().rss
        return shard_pb2.ReadStatusResponse(
            cluster=self._store.identity.cluster, partitions=statuses, resident_bytes=resident
        )

    def read_schema(self) -> shard_pb2.ReadSchemaResponse:
        """Names that any partition has seen."""
        whole = Names()
        for partition in self._store.partitions.values():
            schema = partition.capture().schema
            own = Names(frozenset(schema.events), frozenset(schema.properties), frozenset(schema.attributes))
            whole = whole.merge(own)
        return shard_pb2.ReadSchemaResponse(names=to_names(whole))

    async def read_digest(self) -> shard_pb2.ReadDigestResponse:
        """Digest of each partition."""
        return await self._in_query_thread(self._digest)

    async def take_snapshot(self, request: shard_pb2.TakeSnapshotRequest) -> shard_pb2.TakeSnapshotResponse:
        """Write a snapshot, and copy it if a destination is given; one at a time."""
        work = partial(self._take_snapshot, request.destination)
        snapshot = await asyncio.get_running_loop().run_in_executor(self._snapshot_thread, work)
        return shard_pb2.TakeSnapshotResponse(snapshot=snapshot)

    async def verify_snapshots(self) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        """Read every file of the snapshots."""
        work = self._store.verify_snapshots
        found = await asyncio.get_running_loop().run_in_executor(self._snapshot_thread, work)
        shard = self._store.identity.shard
        problems = [
            admin_pb2.SnapshotProblem(shard=shard, number=each.number, file=each.file, problem=each.problem)
            for each in found.problems
        ]
        result = admin_pb2.VerifySnapshotsResponse(
            snapshots=found.snapshots, files=found.files, bytes=found.bytes, problems=problems
        )
        return shard_pb2.ShardServiceVerifySnapshotsResponse(result=result)

    async def snapshot_every(self, seconds: float) -> None:
        """Take a snapshot at intervals, whenever anything was logged since the last; runs until cancelled."""
        taken = -1
        while True:
            await asyncio.sleep(seconds)
            logged = sum(partition.sequence for partition in self._store.partitions.values())
            if logged == taken:
                continue
            try:
                await self.take_snapshot(shard_pb2.TakeSnapshotRequest())
                taken = logged
            except SnapshotFailed as error:
                _LOG.error("%s; trying again in %g s", error, seconds)

    def _digest(self) -> shard_pb2.ReadDigestResponse:
        digests = list[admin_pb2.PartitionDigest]()
        for number, partition in self._store.partitions.items():
            view = partition.capture()
            found = admin_pb2.PartitionDigest(partition=number, sequence=view.sequence, digest=str(digest(view)))
            digests.append(found)
        return shard_pb2.ReadDigestResponse(partitions=digests)

    def _take_snapshot(self, destination: str) -> admin_pb2.ShardSnapshot:
        started = monotonic_ms()
        taken, removed = self._store.snapshot(self._clock.now_ms())
        if destination:
            target = place_at(destination, f"shard-{self._store.identity.shard}/snapshots")
            copy_snapshot(self._store.snapshot_place, target, taken.number)
        _LOG.info("snapshot %d: %d bytes in %d files", taken.number, taken.bytes_written, taken.files_written)
        return admin_pb2.ShardSnapshot(
            shard=self._store.identity.shard,
            number=taken.number,
            files_written=taken.files_written,
            bytes_written=taken.bytes_written,
            files_shared=taken.files_shared,
            bytes_shared=taken.bytes_shared,
            log_segments_removed=removed,
            milliseconds=monotonic_ms() - started,
        )

    async def close(self) -> None:
        """Finish what is being committed, then close the store."""
        for timer in (self._settling, self._next_retaining):
            if timer is not None:
                timer.cancel()
        for task in (self._committing, self._maintaining, self._syncing, self._retaining):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        for threads in (self._snapshot_thread, self._commit_thread, self._maintenance_thread, self._query_threads):
            threads.shutdown(wait=True)
        self._store.close()

    async def _commit_waiting(self) -> None:
        """Commit groups until nobody waits: what arrives during one sync forms the next group."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = _take_group(self._waiting)
            deliveries = [delivery for waiting in group for delivery in waiting.deliveries]
            try:
                outcomes = iter(await loop.run_in_executor(self._commit_thread, self._store.commit, deliveries))
            except Exception as error:  # whatever it is, each sender must learn that its batch was not acked
                _fail(group, error)
                if isinstance(error, StoreFailed):
                    self._fail(error)
                continue
            for waiting in group:
                part = [next(outcomes) for _ in waiting.deliveries]
                if not waiting.done.done():
                    waiting.done.set_result(part)
            if self._store.sync_mode is SyncMode.INTERVAL and (self._syncing is None or self._syncing.done()):
                self._syncing = asyncio.create_task(self._sync_later())
            self._maintain_soon()

    async def _between_commits(self, work: Callable[[], Result]) -> Result:
        """Run what writes to the log beside batches; a caller that goes away does not undo it."""
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._commit_thread, work))
        except StoreFailed as error:
            self._fail(error)
            raise

    async def _sync_later(self) -> None:
        """Make durable what is acked before it is: once per interval, between two groups."""
        await asyncio.sleep(LOG_SYNC_INTERVAL_MS / 1000)
        try:
            await asyncio.get_running_loop().run_in_executor(self._commit_thread, self._store.sync)
        except StoreFailed as error:
            self._fail(error)

    def _fail(self, error: StoreFailed) -> None:
        _LOG.critical("the store failed: %s", error)
        self._on_failure(error)

    def _maintain_soon(self) -> None:
        self._start_maintenance(self._store.maintain)
        self.settle_soon()

    def settle_soon(self) -> None:
        """Tidy up once nothing has arrived for a while."""
        if self._settling is not None:
            self._settling.cancel()
        loop = asyncio.get_running_loop()
        self._settling = loop.call_later(_IDLE_SECONDS, self._start_maintenance, self._store.settle)

    def _start_maintenance(self, work: Callable[[], bool]) -> None:
        if self._maintaining is None or self._maintaining.done():
            self._maintaining = asyncio.create_task(self._maintain(work))

    async def _maintain(self, work: Callable[[], bool]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._maintenance_thread, work)
        except StoreFailed as error:
            self._fail(error)

    def _evaluate(
        self, message: segment_pb2.Question, context: Context, deadline: Deadline
    ) -> shard_pb2.EvaluateResponse:
        started = monotonic_ms()
        question, binder = from_question(message), Binder(context)
        partials, positions = [], []
        for partition in self._store.partitions.values():
            view = partition.capture()
            partials.append(pipeline.evaluate(question, view, binder, deadline.check))
            positions.append(ingest_pb2.PartitionPosition(partition=partition.partition, sequence=view.sequence))
        response = to_evaluation(merge_all(partials), positions)
        response.engine_milliseconds = monotonic_ms() - started
        return response

    async def _in_query_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._query_threads, work)

    def _partition(self, number: int) -> Partition:
        partition = self._store.partitions.get(PartitionId(number))
        if partition is None:
            raise RequestInvalid("partition", f"{number} does not live on this shard")
        return partition

    def _check_cluster(self, cluster: str) -> None:
        own = self._store.identity.cluster
        if cluster != own:
            raise WrongCluster(cluster, own)


def _encoded(identifier: query_pb2.Identifier) -> bytes:
    if identifier.kind not in IDENTIFIER_KINDS:
        raise RequestInvalid("identifier.kind", f"{identifier.kind!r} is none of {', '.join(IDENTIFIER_KINDS)}")
    return encode_identifier(identifier.kind, identifier.value)


def _proved(
    partition: Partition, identifier: bytes, segment: Node, context: Context, deadline: Deadline
) -> shard_pb2.ProveUserResponse:
    view, [row] = partition.locate([identifier])
    if row is None:
        return shard_pb2.ProveUserResponse()
    verdict = prove(segment, view, Binder(context), row, PROOF_SHOWN_MAX, deadline.check)
    position = ingest_pb2.PartitionPosition(partition=partition.partition, sequence=view.sequence)
    return shard_pb2.ProveUserResponse(found=True, proof=to_response(verdict, view, position, context))


def _take_group(waiting: list[_Waiting]) -> list[_Waiting]:
    size, count = 0, 0
    for entry in waiting:
        if count and size + entry.size > COMMIT_GROUP_BYTES_MAX:
            break
        size, count = size + entry.size, count + 1
    group = waiting[:count]
    del waiting[:count]
    return group


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_exception(error)


def _to_outcome(delivery: Delivery, outcome: Outcome) -> shard_pb2.PartitionOutcome:
    errors = [
        ingest_pb2.RecordError(index=rejection.record, code=rejection.code, message=rejection.message)
        for rejection in outcome.rejections
    ]
    return shard_pb2.PartitionOutcome(
        partition=delivery.partition,
        sequence=outcome.sequence,
        accepted=outcome.accepted,
        duplicates=outcome.duplicates,
        errors=errors,
    )


def _identifier_stream(view: PartitionView, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bytes:
    offsets, data = view.gather_identifiers(rows)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    encoded = pa.Array.from_buffers(pa.large_binary(), rows.shape[0], buffers)
    batch = pa.record_batch({"identifier": encoded})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream
