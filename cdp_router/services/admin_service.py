"""AdminService."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import metadata

from cdp.v1 import admin_pb2, admin_pb2_grpc, shard_pb2

from cdp_query.bind.names import Names
from cdp_router.cluster.placement import Placement, publish_placement
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import READ_DIGEST, READ_SCHEMA, READ_STATUS, TAKE_SNAPSHOT, VERIFY_SNAPSHOTS
from cdp_router.cluster.topology import CLUSTER_NAME
from cdp_router.contract.partials import from_names
from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures, purge_files
from cdp_router.erasure.retention import get_retention, set_retention
from cdp_router.erasure.suppressions import lift, list_suppressions
from cdp_router.errors import RestoreRefused
from cdp_router.limits import LONG_SECONDS_MAX, QUERY_SECONDS_DEFAULT
from cdp_router.security.snapshot_places import allowed_places, check_place
from cdp_router.shard.moves.director import Director
from cdp_router.shard.snapshots import check_destination
from cdp_store.errors import SnapshotFailed
from cdp_store.memory.digest import Digest
from cdp_store.outside.sealed import seal_json
from cdp_store.snapshot.places import place_at

_STATUS_SECONDS = 5.0  # a status must come soon, above all when a shard hangs


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Serves the administration of the cluster."""

    def __init__(self, routing: Routing, erasures: Erasures) -> None:
        self._routing, self._cluster, self._director = routing, routing.cluster, Director(routing)
        self._erasures = erasures

    async def GetStatus(self, request: admin_pb2.GetStatusRequest, context: Context) -> admin_pb2.GetStatusResponse:
        """Reports the contents of the cluster; lists shards that do not answer as unreachable."""
        deadline = Deadline.after(context.time_remaining(), _STATUS_SECONDS)
        shards = dict(sorted(self._routing.shards.items()))
        gathered = await self._routing.everywhere(READ_STATUS, shard_pb2.ReadStatusRequest(), deadline)
        statuses = [admin_pb2.ShardStatus(shard=number, address=shard.address) for number, shard in shards.items()]
        for status in statuses:
            failure = gathered.failures.get(status.shard)
            if failure is not None:
                status.problem = failure.details() or failure.code().name
                continue
            answer = gathered.answers[status.shard]
            status.reachable, status.resident_bytes = True, answer.resident_bytes
            status.partitions.extend(answer.partitions)
        return admin_pb2.GetStatusResponse(
            version=metadata.version("cdp"),
            cluster=self._cluster.cluster,
            partition_count=self._cluster.partitions,
            shards=statuses,
        )

    async def GetSchema(self, request: admin_pb2.GetSchemaRequest, context: Context) -> admin_pb2.GetSchemaResponse:
        """Lists the names seen anywhere."""
        deadline = Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
        gathered = await self._routing.everywhere(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), deadline)
        names = Names()
        for response in self._routing.whole(gathered).values():
            names = names.merge(from_names(response.names))
        return admin_pb2.GetSchemaResponse(
            events=sorted(names.events), properties=sorted(names.properties), attributes=sorted(names.attributes)
        )

    async def EraseProfile(
        self, request: admin_pb2.EraseProfileRequest, context: Context
    ) -> admin_pb2.EraseProfileResponse:
        """Erases a person; returns a receipt."""
        default = LONG_SECONDS_MAX if request.purge else QUERY_SECONDS_DEFAULT
        deadline = Deadline.after(context.time_remaining(), default)
        return await self._erasures.erase(request, deadline)

    async def ListSuppressions(
        self, request: admin_pb2.ListSuppressionsRequest, context: Context
    ) -> admin_pb2.ListSuppressionsResponse:
        """Lists the identifiers under which no record is accepted."""
        deadline = Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
        return await list_suppressions(self._routing, deadline)

    async def LiftSuppression(
        self, request: admin_pb2.LiftSuppressionRequest, context: Context
    ) -> admin_pb2.LiftSuppressionResponse:
        """Accepts records under an identifier again."""
        return await lift(request, self._routing, Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT))

    async def PurgeErased(
        self, request: admin_pb2.PurgeErasedRequest, context: Context
    ) -> admin_pb2.PurgeErasedResponse:
        """Makes every shard remove the remains of erased profiles from its files; all must answer."""
        return admin_pb2.PurgeErasedResponse(shards=await purge_files(self._routing, _long(context)))

    async def GetRetention(
        self, request: admin_pb2.GetRetentionRequest, context: Context
    ) -> admin_pb2.GetRetentionResponse:
        """Reports how long events are kept."""
        deadline = Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
        return await get_retention(self._routing, deadline)

    async def SetRetention(
        self, request: admin_pb2.SetRetentionRequest, context: Context
    ) -> admin_pb2.SetRetentionResponse:
        """Changes how long events are kept."""
        deadline = Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
        return await set_retention(request.rule, self._routing, deadline)

    async def GetDigest(self, request: admin_pb2.GetDigestRequest, context: Context) -> admin_pb2.GetDigestResponse:
        """Digest the data; all shards must answer."""
        deadline = _long(context)

        answers = await self._routing.complete(READ_DIGEST, shard_pb2.ReadDigestRequest(), deadline)
        partitions = [each for answer in answers for each in answer.partitions]
        total = sum((Digest.parse(each.digest) for each in partitions), Digest())
        partitions.sort(key=lambda each: each.partition)
        return admin_pb2.GetDigestResponse(digest=str(total), partitions=partitions)

    async def CreateSnapshot(
        self, request: admin_pb2.CreateSnapshotRequest, context: Context
    ) -> admin_pb2.CreateSnapshotResponse:
        """Makes every shard write a snapshot."""
        check_destination(request.destination)
        check_place(request.destination, allowed_places())
        order = shard_pb2.TakeSnapshotRequest(destination=request.destination)
        gathered = await self._routing.everywhere(TAKE_SNAPSHOT, order, _long(context))
        answers = list(self._routing.whole(gathered).values())
        if request.destination:
            copied = seal_json(self._cluster)
            place, placement = place_at(request.destination), self._placement(answers)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, publish_placement, place, placement, self._cluster)
            await loop.run_in_executor(None, place.publish, CLUSTER_NAME, copied)
        return admin_pb2.CreateSnapshotResponse(shards=[answer.snapshot for answer in answers])

    def _placement(self, answers: Sequence[shard_pb2.TakeSnapshotResponse]) -> Placement:
        """Shards whose snapshots hold each partition; if one moved meanwhile, two may hold all of it."""
        holders = {number: answer.snapshot.shard for answer in answers for number in answer.snapshot.partitions}
        missing = sorted(set(self._routing.map.partitions) - set(holders))
        if missing:
            raise SnapshotFailed(f"partitions {missing}", "they moved while the snapshots were taken; take them again")
        placement: dict[int, list[int]] = {answer.snapshot.shard: [] for answer in answers}
        for partition, shard in sorted(holders.items()):
            placement[shard].append(partition)
        return placement

    async def RestoreCluster(
        self, request: admin_pb2.RestoreClusterRequest, context: Context
    ) -> admin_pb2.RestoreClusterResponse:
        """Refuses; the message describes a restore."""
        raise RestoreRefused(request.source)

    async def VerifySnapshots(
        self, request: admin_pb2.VerifySnapshotsRequest, context: Context
    ) -> admin_pb2.VerifySnapshotsResponse:
        """Makes every shard check the files of its snapshots."""
        order = shard_pb2.ShardServiceVerifySnapshotsRequest()
        gathered = await self._routing.everywhere(VERIFY_SNAPSHOTS, order, _long(context))
        results = [answer.result for answer in self._routing.whole(gathered).values()]
        return admin_pb2.VerifySnapshotsResponse(
            snapshots=sum(result.snapshots for result in results),
            files=sum(result.files for result in results),
            bytes=sum(result.bytes for result in results),
            problems=[problem for result in results for problem in result.problems],
        )

    async def MovePartition(
        self, request: admin_pb2.MovePartitionRequest, context: Context
    ) -> admin_pb2.MovePartitionResponse:
        """Begins to move a partition."""
        return admin_pb2.MovePartitionResponse(move=await self._director.move(request.partition, request.shard))

    async def DrainShard(self, request: admin_pb2.DrainShardRequest, context: Context) -> admin_pb2.DrainShardResponse:
        """Begins to move all partitions of a shard away."""
        return admin_pb2.DrainShardResponse(moves=await self._director.drain(request.shard))

    async def StopMove(self, request: admin_pb2.StopMoveRequest, context: Context) -> admin_pb2.StopMoveResponse:
        """Keeps a partition in its place."""
        return admin_pb2.StopMoveResponse(stopped=await self._director.stop(request.partition))

    async def ListPlacements(
        self, request: admin_pb2.ListPlacementsRequest, context: Context
    ) -> admin_pb2.ListPlacementsResponse:
        """Reports the places of partitions."""
        return await self._director.list()


def _long(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), LONG_SECONDS_MAX)
