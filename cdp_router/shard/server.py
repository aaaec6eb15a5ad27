"""Server side of a shard, without a socket: accepts batches, evaluates on worker threads, reads profiles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TypeVar

from cdp.v1 import admin_pb2, ingest_pb2, moving_pb2, partition_pb2, segment_pb2, shard_pb2

from cdp_query import pipeline
from cdp_query.bind.bind import Binder, Findings
from cdp_query.proof import prove
from cdp_query.tree import Context, Question
from cdp_router.background import Background
from cdp_router.cluster.partition_map import claim_of
from cdp_router.contract.arrow_streams import Pieces, with_arrow
from cdp_router.contract.partials import to_evaluation
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.contract.question_codec import from_question, from_segment
from cdp_router.contract.retention_rules import latest, listed
from cdp_router.deadline import Deadline, monotonic_ms
from cdp_router.errors import RequestInvalid, WrongEpoch
from cdp_router.limits import CLAIMS_TOLD_MAX, LONG_QUESTION_BYTES, PROOF_SHOWN_MAX, QUESTIONS_REMEMBERED
from cdp_router.questions.attribute_columns import kinds_met
from cdp_router.questions.profile_reading import read_profile
from cdp_router.questions.proofs import to_response
from cdp_router.questions.timelines import Page
from cdp_router.rpc.threaded_calls import Checkpoint
from cdp_router.shard.checks import check_cluster
from cdp_router.shard.commits import Commits
from cdp_router.shard.deliveries import to_delivery, to_outcome
from cdp_router.shard.documents import ShardDocuments
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from cdp_router.shard.held_views import Captured, HeldViews, capture_all, to_transfers
from cdp_router.shard.member_pages import FoundMembers
from cdp_router.shard.memory_budget import MemoryBudget
from cdp_router.shard.moves.giver import Giver
from cdp_router.shard.moves.shard_moves import ShardMoves
from cdp_router.shard.moves.taker import Connect, Taker
from cdp_router.shard.partition_discovery import met_by
from cdp_router.shard.person_pages import ShardPeople, encoded
from cdp_router.shard.query_workers import QueryWorkers
from cdp_router.shard.readings import ShardReadings
from cdp_router.shard.shard_erasure import ShardErasing
from cdp_router.shard.shard_export import ShardExporting
from cdp_router.shard.shard_identity import change_identity, read_identity
from cdp_router.shard.shard_quarantine import ShardQuarantine
from cdp_router.shard.snapshots import Snapshots
from cdp_router.shard.upkeep import Upkeep
from cdp_store.directory.holdings import HoldingState
from cdp_store.errors import StoreFailed
from cdp_store.ids import PartitionId
from cdp_store.memory.digest import digest
from cdp_store.outside.seams import Clock, SystemClock
from cdp_store.partition.partition import Partition
from cdp_store.shard.handover import Giving, Taking
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store

Result = TypeVar("Result")


class ShardServer:
    """One shard's store behind asynchronous calls; all methods use messages of cdp.v1."""

    def __init__(
        self,
        store: Store,
        on_failure: Callable[[StoreFailed], None],
        query_threads: int = 2,
        clock: Clock | None = None,
        budget: MemoryBudget | None = None,
        connect: Connect = GrpcShardClient,
        background: Background | None = None,
    ) -> None:
        self._store, self._clock, self._budget = store, clock or SystemClock(), budget
        self.background = background or Background()
        self.commits = Commits(store, on_failure, self._maintain_soon, self.background)
        self.upkeep = Upkeep(store, self.commits, self._clock, self.background)
        self.snapshots = Snapshots(store, self._clock, self.background)
        self._workers = QueryWorkers(query_threads)
        self._exporting = ShardExporting(self._workers)
        self.documents = ShardDocuments(store, self.commits, self._check_epochs)
        self.erasing = ShardErasing(store, self.commits, self.upkeep, self.snapshots, self._clock, self._check_epochs)
        self.quarantine = ShardQuarantine(store, self.commits, self._check_epochs)
        self.people = ShardPeople(store, self._check_epochs, self._in_query_thread)
        giver = Giver(store, Giving(store, store.files), self.commits, self.snapshots, self._clock)
        taking = Taking(store, store.files)
        taker = Taker(store, taking, self.commits, self.snapshots, self._clock, connect, budget, self.background)
        self.moves = ShardMoves(store, giver, taker)
        self._held, self.readings = HeldViews(), ShardReadings(store)
        self._remembered = lru_cache(QUESTIONS_REMEMBERED)(_question_of)

    @property
    def workers(self) -> QueryWorkers:
        """The bound on evaluations at a time, for threads that bring their own."""
        return self._workers

    async def deliver(self, request: shard_pb2.DeliverRequest) -> shard_pb2.DeliverResponse:
        """Logs, applies and acknowledges; concurrent deliveries share one sync. Overloaded when memory is short."""
        check_cluster(self._store, request.cluster)
        size = sum(len(item.batch) for item in request.batches)
        if self._budget is not None:
            # With what waits: many requests that pass one by one could together go beyond the mark before any is
            # applied.
            self._budget.admit(size + self.commits.waiting_bytes)
        asked = [(item.partition, item.epoch) for item in request.batches]
        self._check_epochs(asked)
        deliveries = [to_delivery(item, request.limits) for item in request.batches]
        # Checked once now, so that a wrong request costs no place in the queue, and once more right before it is
        # logged.
        outcomes = await self.commits.commit(deliveries, size, partial(self._check_epochs, asked))
        held = self._store.partitions  # one may have left meanwhile
        due = [each.partition for each in deliveries if each.partition in held and held[each.partition].identity.is_due]
        return shard_pb2.DeliverResponse(outcomes=map(to_outcome, deliveries, outcomes), due=due)

    async def evaluate(self, request: shard_pb2.EvaluateRequest, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        """The merged contribution of the requested partitions."""
        return await self._workers.run(self._evaluation(request), deadline)

    def evaluate_here(self, request: shard_pb2.EvaluateRequest, checkpoint: Checkpoint) -> shard_pb2.EvaluateResponse:
        """The same on the thread that calls this."""
        return self._evaluation(request)(checkpoint)

    def _evaluation(self, request: shard_pb2.EvaluateRequest) -> Callable[[Checkpoint], shard_pb2.EvaluateResponse]:
        check_cluster(self._store, request.cluster)
        context = Context(request.as_of_ms, request.tz or "UTC", not request.exclude_anonymous)
        return partial(_evaluated, partial(self._question, request.question), self._views(request), context)

    async def list_members(self, request: shard_pb2.ListMembersRequest, deadline: Deadline) -> AsyncIterator[Pieces]:
        """Identifiers of members, one partition after the other, all of one moment: encoded ListMembersResponses."""
        check_cluster(self._store, request.cluster)
        context = Context(request.as_of_ms, request.tz or "UTC", not request.exclude_anonymous)
        # All views before the first page: later ones would show what came in while earlier partitions were sent.
        find = partial(_found_members, request, self._views(request), context)
        pages = (await self._workers.run(find, deadline)).messages()
        while (page := await self._in_query_thread(lambda: next(pages, None), begun=True)) is not None:
            yield with_arrow(*page)

    async def read_all(
        self, request: shard_pb2.ReadAllRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        """All contents of partitions, one after the other."""
        check_cluster(self._store, request.cluster)
        async for response in self._exporting.read_all(self._views(request), deadline):
            yield response

    async def read_profile(self, request: shard_pb2.ReadProfileRequest) -> shard_pb2.ReadProfileResponse:
        """One profile with its latest events."""
        check_cluster(self._store, request.cluster)
        partition = self._owned(request.partition, request.epoch)
        identifier = encoded(request.identifier)
        page = Page(request.events_max, set(request.event_names), *_given(request))
        profile = await self._in_query_thread(lambda: read_profile(partition, identifier, page))
        return shard_pb2.ReadProfileResponse(found=profile is not None, profile=profile)

    async def prove_user(self, request: shard_pb2.ProveUserRequest, deadline: Deadline) -> shard_pb2.ProveUserResponse:
        """The verdict on one user, with the deciding parts."""
        check_cluster(self._store, request.cluster)
        partition = self._owned(request.partition, request.epoch)
        identifier = encoded(request.identifier)
        context = Context(request.as_of_ms, request.tz or "UTC", not request.exclude_anonymous)
        return await self._workers.run(partial(_proved, partition, identifier, request.segment, context), deadline)

    async def change_retention(self, request: shard_pb2.ChangeRetentionRequest) -> shard_pb2.ChangeRetentionResponse:
        """Changes rules of retention, drops events by them, and returns the rules."""
        check_cluster(self._store, request.cluster)
        if request.rules:
            days = {rule.event: rule.days for rule in request.rules}

            def change() -> None:
                numbers = [partition.partition for partition in self._asked_for(request.partitions)]
                Retaining(self._store).set_retention(days, self._clock.now_ms(), numbers)

            await self.commits.between(change)
        forgotten = await self._forgotten(request) if request.forgotten or request.forget_unused else []
        found = await self.readings.run(partial(_rules, self._asked_for(request.partitions)))
        found.forgotten.extend(forgotten)
        return found

    async def _forgotten(self, request: shard_pb2.ChangeRetentionRequest) -> list[str]:
        def forget() -> list[str]:
            numbers = [partition.partition for partition in self._asked_for(request.partitions)]
            return Retaining(self._store).forget_events(request.forgotten, numbers, unused=request.forget_unused)

        forgotten = await self.commits.between(forget)
        await self.upkeep.purge_now()
        return forgotten

    async def discover(self, request: shard_pb2.DiscoverNamesRequest) -> shard_pb2.DiscoverNamesResponse:
        """Discoveries of partitions, one after the other."""
        check_cluster(self._store, request.cluster)
        found = shard_pb2.DiscoverNamesResponse()
        for partition in self._asked_for(request.partitions):
            found.MergeFrom(await self._in_query_thread(partial(met_by, partition)))
        return found

    async def read_digest(self, request: shard_pb2.ReadDigestRequest) -> shard_pb2.ReadDigestResponse:
        """Digest of each requested partition."""
        check_cluster(self._store, request.cluster)
        partitions = self._asked_for(request.partitions)
        return await self._in_query_thread(lambda: _digests(partitions))

    async def capture_views(self, request: moving_pb2.CaptureViewsRequest) -> moving_pb2.CaptureViewsResponse:
        """Holds views of partitions for a question, and returns the progress of transfers in them."""
        check_cluster(self._store, request.cluster)
        partitions = self._asked_for(request.partitions)
        captured = await self.readings.run(partial(capture_all, partitions))
        self._held.hold(request.token, captured)
        response = moving_pb2.CaptureViewsResponse(transfers=[to_transfers(*each) for each in captured])
        for _, view, _ in captured if request.attributes else ():
            met = partial(kinds_met, view, request.attributes, request.as_of_ms)
            response.attributes.extend(await self._in_query_thread(met, begun=True))
        return response

    async def change_identity(self, request: moving_pb2.ChangeIdentityRequest) -> moving_pb2.ChangeIdentityResponse:
        """Logs and applies a change of identifiers, and returns the remaining moves."""
        check_cluster(self._store, request.cluster)
        work = partial(change_identity, lambda: self._owned(request.partition, request.epoch), request, self._store)
        response = await self.commits.between(work)
        if response.done:
            self._maintain_soon()
        return response

    async def read_identity(self, request: moving_pb2.ReadIdentityRequest) -> moving_pb2.ReadIdentityResponse:
        """Reads the identity of an identifier in a partition."""
        check_cluster(self._store, request.cluster)
        partition = self._owned(request.partition, request.epoch)
        found = await self._in_query_thread(partial(read_identity, partition, encoded(request.identifier)))
        # Released meanwhile, the partition may have been changed elsewhere before it was read here.
        self._owned(request.partition, request.epoch)  # still
        return found

    async def take_snapshot(self, request: shard_pb2.TakeSnapshotRequest) -> shard_pb2.TakeSnapshotResponse:
        """Writes a snapshot, and copy it if a destination is given; one at a time."""
        return shard_pb2.TakeSnapshotResponse(snapshot=await self.snapshots.take_snapshot(request.destination))

    async def purge_files(self, request: shard_pb2.PurgeFilesRequest) -> shard_pb2.PurgeFilesResponse:
        """Removes everything of profiles that were erased before this call from all files of this shard."""
        check_cluster(self._store, request.cluster)
        # From here on all log records of profiles erased before are in segments that the second step may remove.
        await self.commits.between(self._store.start_log_anew)
        return shard_pb2.PurgeFilesResponse(purge=await self.snapshots.purge_files())

    async def verify_snapshots(self) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        """Reads every file of the snapshots."""
        return await self.snapshots.verify()

    async def close(self) -> None:
        """Finishes the commit under way, then closes the store."""
        # In the order in which parts pass work on: a part that is closed later receives the rest from those before it.
        self.upkeep.stop()
        await self.moves.taker.close()
        await self.commits.close()
        await self.upkeep.close()
        await self.snapshots.close()
        await self.background.close()
        self._workers.close()
        self.readings.close()
        self._store.close()

    def _maintain_soon(self) -> None:
        self.upkeep.maintain_soon()
        self.snapshots.write_cold_soon()

    async def _in_query_thread(self, work: Callable[[], Result], *, begun: bool = False) -> Result:
        return await self._workers.run(lambda _: work(), begun=begun)

    def _question(self, message: segment_pb2.Question) -> _Read:
        """The question of a message. Trees of short ones are remembered: dashboards ask the same again and again."""
        encoded = message.SerializeToString()
        return self._remembered(encoded) if len(encoded) <= LONG_QUESTION_BYTES else _Read(from_question(message))

    def _owned(self, number: int, epoch: int) -> Partition:
        """A partition that the shard answers for at this epoch; WrongEpoch otherwise, RequestInvalid if never."""
        self._check_epochs([(number, epoch)])
        return self._store.partitions[PartitionId(number)]

    def _views(
        self, request: shard_pb2.EvaluateRequest | shard_pb2.ListMembersRequest | shard_pb2.ReadAllRequest
    ) -> Callable[[], Sequence[Captured]]:
        """Source of the views for a question, all of about the same moment, on a thread of its own.

        A partition that moves away between this check and its capture keeps its contents of the handover: all that was
        acknowledged before the question came.
        """
        partitions = self._asked_for(request.partitions)
        if request.HasField("views"):
            held = self._held.views_of(request.views, partitions)
            return lambda: held
        return partial(capture_all, partitions)

    def _asked_for(self, asked: Iterable[partition_pb2.PartitionEpoch]) -> list[Partition]:
        """The partitions of a request, each at the epoch the shard holds it."""
        wanted = [(PartitionId(each.partition), each.epoch) for each in asked]
        if not wanted:
            raise RequestInvalid("partitions", "none is given")
        self._check_epochs(wanted)
        held = self._store.partitions
        return [held[number] for number, _ in wanted]

    def _check_epochs(self, asked: Iterable[tuple[int, int]]) -> None:
        """Raises WrongEpoch unless the shard owns all of the partitions at these epochs; called from any thread."""
        own, claims, strange = self._store.identity.shard, list[PartitionClaim](), list[int]()
        for number, epoch in asked:
            # One look at an immutable value for each: no lock, though the commit thread may replace the map meanwhile.
            holding = self._store.holdings.get(PartitionId(number))
            if holding is None:
                strange.append(number)  # the caller may know the cluster as it was before a restore
            elif holding.state is not HoldingState.OWNED or holding.epoch != epoch:
                claims.append(claim_of(own, PartitionId(number), holding))
        if claims or strange:
            raise WrongEpoch(claims[:CLAIMS_TOLD_MAX], strange[:CLAIMS_TOLD_MAX])


def _given(request: shard_pb2.ReadProfileRequest) -> tuple[int | None, int]:
    """End of the pages before this one: (time, events of that time)."""
    return (request.after.time_ms, request.after.given) if request.HasField("after") else (None, 0)


@dataclass(frozen=True, slots=True)
class _Read:
    """A question, and what was found out about its tree; what depends on an instant or on data is never kept."""

    question: Question
    findings: Findings = field(default_factory=Findings)


def _question_of(encoded: bytes) -> _Read:
    return _Read(from_question(segment_pb2.Question.FromString(encoded)))


def _found_members(
    request: shard_pb2.ListMembersRequest,
    take: Callable[[], Sequence[Captured]],
    context: Context,
    checkpoint: Checkpoint,
) -> FoundMembers:
    """The members of a segment in the partitions that a request names."""
    views = [
        (ingest_pb2.PartitionPosition(partition=partition.partition, sequence=view.sequence), view)
        for partition, view, _ in take()
    ]
    return FoundMembers.of(from_segment(request.segment), views, Binder(context), request.attributes, checkpoint)


def _evaluated(
    read: Callable[[], _Read], take: Callable[[], Sequence[Captured]], context: Context, checkpoint: Checkpoint
) -> shard_pb2.EvaluateResponse:
    # Captured here, in the worker's thread: a capture takes the locks of partitions.
    started, views = monotonic_ms(), take()
    asked = read()
    binder = Binder(context, asked.findings)
    found = pipeline.evaluate_all(asked.question, [view for _, view, _ in views], binder, checkpoint)
    response = to_evaluation(found)
    answered = response.answered.add
    for each in views:
        answered(partition=each[0].partition, sequence=each[1].sequence)
        if each[2].sent or each[2].received:
            response.transfers.append(to_transfers(*each))
    response.engine_milliseconds = monotonic_ms() - started
    return response


def _rules(partitions: Sequence[Partition]) -> shard_pb2.ChangeRetentionResponse:
    days = {name: number for partition in partitions for name, number in partition.retention_days().items()}
    return listed(days, latest(cutoff for partition in partitions for cutoff in partition.cutoffs().items()))


def _digests(partitions: Sequence[Partition]) -> shard_pb2.ReadDigestResponse:
    digests = list[admin_pb2.PartitionDigest]()
    for partition in partitions:
        view = partition.capture()
        found = admin_pb2.PartitionDigest(
            partition=partition.partition, sequence=view.sequence, digest=str(digest(view))
        )
        digests.append(found)
    return shard_pb2.ReadDigestResponse(partitions=digests)


def _proved(
    partition: Partition, identifier: bytes, message: segment_pb2.Segment, context: Context, checkpoint: Checkpoint
) -> shard_pb2.ProveUserResponse:
    segment = from_segment(message)
    view, [row] = partition.locate([identifier])
    if row is None:
        return shard_pb2.ProveUserResponse()
    verdict = prove(segment, view, Binder(context), row, PROOF_SHOWN_MAX, checkpoint)
    position = ingest_pb2.PartitionPosition(partition=partition.partition, sequence=view.sequence)
    return shard_pb2.ProveUserResponse(found=True, proof=to_response(verdict, view, position, context))
