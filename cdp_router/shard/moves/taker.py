"""The taker's side of a move, which drives it: copy, catch up, have it released, own, have it forgotten.

The incoming state of a partition is durable, its progress is not: after a restart, and after any failure, the copy
begins again when a router requests it (`sweeping`). Until the giver has released the partition nothing has happened.
From then on only the taker can own it, and the giver keeps everything until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc
import pyarrow as pa
from cdp.v1 import partition_pb2 as pb

from cdp_query.errors import QueryError
from cdp_router.background import Background
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import (
    EXPORT_PARTITION,
    FORGET_PARTITION,
    READ_EXPORT,
    READ_TAIL,
    RELEASE_PARTITION,
    Request,
    Response,
    UnaryMethod,
)
from cdp_router.contract.partition_claims import STATES
from cdp_router.contract.status import describe, mismatch_of
from cdp_router.deadline import Deadline
from cdp_router.errors import MoveRefused, RequestInvalid, RouterError, WrongEpoch
from cdp_router.limits import CATCH_UP_RECORDS, EPOCH_MAX, MOVE_CALL_SECONDS, MOVE_COPY_SECONDS, PARTITIONS_MAX
from cdp_router.shard.checks import check_cluster
from cdp_router.shard.commits import Commits
from cdp_router.shard.memory_budget import MemoryBudget
from cdp_router.shard.snapshots import Snapshots
from cdp_store.directory.documents import Document
from cdp_store.directory.holdings import FIRST_EPOCH, Holding, HoldingState
from cdp_store.errors import StoreError
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.format import LogRecord
from cdp_store.outside.seams import Clock
from cdp_store.partition.partition import Partition
from cdp_store.shard.handover import Taking
from cdp_store.shard.store import Store
from cdp_store.snapshot.manifest import Manifest, decode_manifest

Connect = Callable[[str], ShardClient]
_LOG = logging.getLogger(__name__)
_ATTEMPTS: Final = 4  # of one call: one lost packet must not cost a whole copy
_PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True)
class _Taking:
    """One partition on its way in."""

    task: asyncio.Task[None] | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    records_behind: int = 0
    problem: str = ""

    def failed(self, error: BaseException) -> None:
        """Records that a defect ended it; a router begins it again."""
        self.problem = self.problem or f"{type(error).__name__}: {error}"

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()


class Taker:
    """Takes partitions over into one store, one after the other."""

    def __init__(
        self,
        store: Store,
        taking: Taking,
        commits: Commits,
        snapshots: Snapshots,
        clock: Clock,
        connect: Connect,
        budget: MemoryBudget | None,
        background: Background | None = None,
    ) -> None:
        self._store, self._taking, self._clock = store, taking, clock
        self._commits, self._snapshots, self._connect, self._budget = commits, snapshots, connect, budget
        self._background, self._under_way = background or Background(), dict[PartitionId, _Taking]()
        # One after the other: each needs a whole copy in memory next to the served data, and is part of snapshots from
        # `adopt` on.
        self._one = asyncio.Lock()

    async def take_partition(self, request: pb.TakePartitionRequest) -> pb.TakePartitionResponse:
        """Begins or resumes to take a partition over; does nothing if it is here already."""
        check_cluster(self._store, request.cluster)
        number, wanted = (
            PartitionId(request.partition),
            Holding(HoldingState.INCOMING, request.epoch, request.from_shard),
        )
        if number >= PARTITIONS_MAX:
            raise RequestInvalid("partition", f"must be below {PARTITIONS_MAX}")
        if not FIRST_EPOCH < request.epoch < EPOCH_MAX:
            raise RequestInvalid("epoch", "is no epoch of a handover")
        if request.from_shard == self._store.identity.shard:
            raise MoveRefused(f"partition {number} lives on shard {request.from_shard} already")
        held = self._store.holdings.get(number)
        if held is None or held.epoch < request.epoch or held == wanted:
            # Durable before the first call to the giver: after a restart a router finds the move, and resumes it.
            await self._commits.between(partial(self._begin, number, wanted))
            self._start(number, request)
        elif (held.state, held.epoch) != (HoldingState.OWNED, request.epoch):
            raise MoveRefused(f"partition {number} is beyond epoch {request.epoch}; ask again")
        return pb.TakePartitionResponse(holding=self.describe(number))

    async def stop(self, request: pb.StopTakingRequest) -> pb.StopTakingResponse:
        """Gives a partition up, unless it has been released already."""
        check_cluster(self._store, request.cluster)
        number = PartitionId(request.partition)
        held, under_way = self._store.holdings.get(number), self._under_way.get(number)
        if held is None or held.state is not HoldingState.INCOMING:
            return pb.StopTakingResponse(stopped=False)
        if under_way is not None and under_way.task is not None:
            # First the task, then the holding: an attempt that still ran could own the partition after it was given up.
            under_way.task.cancel()
            await asyncio.gather(under_way.task, return_exceptions=True)
        # The attempt may own it by now, or its last step is still to run: that is decided between commits. If a release
        # is still on its way, the giver reports it, and a router starts the move again.
        work = partial(self._taking.abandon, number, (held.epoch - 1, held.shard))
        return pb.StopTakingResponse(stopped=await self._commits.between(work))

    def describe(self, number: PartitionId) -> pb.PartitionHolding:
        """A holding, with its progress if it is on its way in."""
        held = self._store.holdings.get(number)
        if held is None:
            return pb.PartitionHolding(partition=number)
        told = pb.PartitionHolding(partition=number, epoch=held.epoch, state=STATES[held.state], shard=held.shard)
        under_way = self._under_way.get(number)
        if held.state is HoldingState.INCOMING:
            under_way = under_way or _Taking(problem="the shard was started again")
            told.progress.CopyFrom(
                pb.TakingProgress(
                    bytes_done=under_way.bytes_done,
                    bytes_total=under_way.bytes_total,
                    records_behind=under_way.records_behind,
                    problem=under_way.problem,
                    running=under_way.is_running,
                )
            )
        return told

    async def close(self) -> None:
        """Stops moves under way; they resume after the next start."""
        tasks = [each.task for each in self._under_way.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, number: PartitionId, wanted: Holding) -> None:
        """Sets the holding; runs between commits, where holdings change."""
        held = self._store.holdings.get(number)
        if held == wanted:
            return
        if held is not None and held.state is HoldingState.RELEASED:
            raise MoveRefused(f"shard {held.shard} has not confirmed that it has partition {number}; ask again")
        if held is not None and (held.state is HoldingState.OWNED or held.epoch >= wanted.epoch):
            raise MoveRefused(f"partition {number} is at epoch {held.epoch}; ask again")
        self._taking.begin(number, wanted.epoch, wanted.shard)

    def _start(self, number: PartitionId, request: pb.TakePartitionRequest) -> None:
        under_way = self._under_way.get(number)
        if under_way is None or not under_way.is_running:
            under_way = self._under_way[number] = _Taking()
            work = self._run(number, request, under_way)
            under_way.task = self._background.begin(f"taking partition {number} over", work, under_way.failed)

    async def _run(self, number: PartitionId, request: pb.TakePartitionRequest, under_way: _Taking) -> None:
        async with self._one:
            source = self._connect(request.from_address)
            try:
                await _Transfer(self, number, request, source, under_way).run()
            except WrongEpoch as refusal:
                await self._refused(number, request, refusal, under_way)
            except grpc.aio.AioRpcError as error:
                under_way.problem = f"shard {request.from_shard}: {describe(error).message}"
            except (StoreError, RouterError, QueryError) as error:
                under_way.problem = str(error)
            finally:
                await source.close()
                held = self._store.holdings.get(number)
                if held is None or held.state is not HoldingState.OWNED:
                    # In that thread, because an adoption of a copy runs there to its end.
                    await self._snapshots.run(partial(self._taking.drop, number))
            if under_way.problem:
                _LOG.warning("partition %d is not taken over yet: %s", number, under_way.problem)

    async def _refused(
        self, number: PartitionId, request: pb.TakePartitionRequest, refusal: WrongEpoch, under_way: _Taking
    ) -> None:
        """Handles a giver that does not hold the partition at the epoch before: another shard was faster."""
        under_way.problem = str(refusal)
        claims = [claim for claim in refusal.claims if claim.epoch >= request.epoch]
        if claims:
            claim = (claims[0].epoch, claims[0].shard)
            await self._commits.between(partial(self._taking.abandon, number, claim))


class _Transfer:
    """One attempt to take one partition over."""

    def __init__(
        self,
        taker: Taker,
        number: PartitionId,
        request: pb.TakePartitionRequest,
        source: ShardClient,
        under_way: _Taking,
    ) -> None:
        self._store, self._taking, self._clock = taker._store, taker._taking, taker._clock
        self._commits, self._snapshots, self._budget = taker._commits, taker._snapshots, taker._budget
        self._number, self._request, self._source, self._under_way = number, request, source, under_way
        self._cluster, self._own = self._store.identity.cluster, self._store.identity.shard

    async def run(self) -> None:
        """Runs from the copy to the ownership; raises if it cannot continue."""
        # A copy, then the tail until little is left: writers wait only for the last of it, between release and
        # ownership.
        exported = await self._call(EXPORT_PARTITION, self._export_request(), MOVE_COPY_SECONDS)
        manifest = decode_manifest(f"copy of partition {self._number}", exported.manifest)
        await self._copy(exported.export_id, manifest)
        work = partial(self._taking.adopt, self._number, exported.export_id, manifest, self._clock.now_ms())
        partition = await self._snapshots.run(work)
        await self._catch_up(partition, exported.export_id)
        # From here on nobody answers for the partition until this shard owns it. The giver keeps all of it until it is
        # asked to forget it, so that a crash on either side loses nothing.
        released = await self._call(RELEASE_PARTITION, self._release_request())
        await self._catch_up(partition, exported.export_id, released.sequence)
        documents = {each.name: Document(each.version, each.content) for each in released.documents}
        # Durable before the giver forgets: whichever shard stops now, one of the two has the partition.
        await self._commits.between(partial(self._taking.own, partition, self._request.epoch, documents))
        _LOG.info("partition %d is here, at epoch %d", self._number, self._request.epoch)
        forget = pb.ForgetPartitionRequest(cluster=self._cluster, partition=self._number, epoch=self._request.epoch)
        await self._call(FORGET_PARTITION, forget)

    def _export_request(self) -> pb.ExportPartitionRequest:
        return pb.ExportPartitionRequest(
            cluster=self._cluster, partition=self._number, epoch=self._request.epoch, to_shard=self._own
        )

    def _release_request(self) -> pb.ReleasePartitionRequest:
        return pb.ReleasePartitionRequest(
            cluster=self._cluster, partition=self._number, epoch=self._request.epoch, to_shard=self._own
        )

    async def _copy(self, export_id: str, manifest: Manifest) -> None:
        """Fetches the files of the copy; their checksums are checked on adoption."""
        self._taking.clean(self._number)
        place, loop = self._taking.place(self._number), asyncio.get_running_loop()
        self._under_way.bytes_total = sum(file.bytes for file in manifest.files.values())
        if self._budget is not None:
            self._budget.admit(self._under_way.bytes_total)
        for name, file in manifest.files.items():
            pieces, size = list[bytes](), 0
            while size < file.bytes:
                request = pb.ReadExportRequest(
                    cluster=self._cluster, partition=self._number, export_id=export_id, file=name, offset=size
                )
                piece = await self._call(READ_EXPORT, request)
                # Shorter than in the manifest: its checksum refuses it when it is adopted.
                if not piece.data:
                    break
                pieces.append(piece.data)
                size += len(piece.data)
                self._under_way.bytes_done += len(piece.data)
            await loop.run_in_executor(None, place.write, name, pa.py_buffer(b"".join(pieces)))

    async def _catch_up(self, partition: Partition, export_id: str, upto: SequenceNumber | int | None = None) -> None:
        """Logs and applies the giver's later log entries: nearly all of them, or all up to a sequence number."""
        while True:
            request = pb.ReadTailRequest(
                cluster=self._cluster, partition=self._number, export_id=export_id, after=partition.sequence
            )
            tail = await self._call(READ_TAIL, request)
            records = [
                LogRecord(self._number, SequenceNumber(each.sequence), each.kind, each.payload, 0, 0)
                for each in tail.records
            ]
            # Through the own log, under the giver's numbers: after a start it replays like what came in here.
            await self._commits.between(partial(self._taking.receive, partition, records))
            self._under_way.records_behind = tail.sequence - partition.sequence
            if self._under_way.records_behind <= (CATCH_UP_RECORDS if upto is None else 0):
                return
            # Nobody maintains a partition that is not served yet, and a long tail would leave it unsealed.
            await self._snapshots.run(partition.maintain)

    async def _call(
        self, method: UnaryMethod[Request, Response], request: Request, seconds: float = MOVE_CALL_SECONDS
    ) -> Response:
        """Calls the giver, again if the connection fails; refusals of an epoch raise WrongEpoch."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._source.call(method, request, Deadline.after(seconds, seconds))
            except grpc.aio.AioRpcError as error:
                refusal = mismatch_of(error)
                if refusal is not None:
                    raise refusal from error
                # Every call of a move may be repeated. Other failures would be the same again.
                if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == _ATTEMPTS - 1:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")
