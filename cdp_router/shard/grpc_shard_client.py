"""A router's side of shards in other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cdp.v1 import moving_pb2, shard_pb2, shard_pb2_grpc

from cdp_router.cluster.move_client import MoveClient
from cdp_router.cluster.shard_client import KindsOf
from cdp_router.deadline import Deadline
from cdp_router.rpc.carrying import carrying
from cdp_router.security.tls.links import Link
from cdp_router.shard.moves.client import GrpcMoveClient


class GrpcShardClient:
    """A shard in another process."""

    def __init__(self, address: str, link: Link | None = None) -> None:
        self.address = address
        link = link or Link()
        self._channel = link.connect(address)
        self._stub = shard_pb2_grpc.ShardServiceStub(carrying(self._channel, link.shown))
        self.moves: MoveClient = GrpcMoveClient(self._channel, link.shown)

    async def deliver(self, request: shard_pb2.DeliverRequest, deadline: Deadline) -> shard_pb2.DeliverResponse:
        return await self._stub.Deliver(request, timeout=deadline.remaining())

    async def evaluate(self, request: shard_pb2.EvaluateRequest, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        return await self._stub.Evaluate(request, timeout=deadline.remaining())

    async def list_members(
        self, request: shard_pb2.ListMembersRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ListMembersResponse]:
        async for response in self._stub.ListMembers(request, timeout=deadline.remaining()):
            yield response

    async def read_profile(
        self, request: shard_pb2.ReadProfileRequest, deadline: Deadline
    ) -> shard_pb2.ReadProfileResponse:
        return await self._stub.ReadProfile(request, timeout=deadline.remaining())

    async def prove_user(self, request: shard_pb2.ProveUserRequest, deadline: Deadline) -> shard_pb2.ProveUserResponse:
        return await self._stub.ProveUser(request, timeout=deadline.remaining())

    async def read_status(self, deadline: Deadline) -> shard_pb2.ReadStatusResponse:
        return await self._stub.ReadStatus(shard_pb2.ReadStatusRequest(), timeout=deadline.remaining())

    async def read_schema(self, deadline: Deadline, kinds_of: KindsOf = None) -> shard_pb2.ReadSchemaResponse:
        return await self._stub.ReadSchema(shard_pb2.ReadSchemaRequest(kinds_of=kinds_of), timeout=deadline.remaining())

    async def erase(
        self, request: shard_pb2.EraseProfilesRequest, deadline: Deadline
    ) -> shard_pb2.EraseProfilesResponse:
        return await self._stub.EraseProfiles(request, timeout=deadline.remaining())

    async def change_retention(
        self, request: shard_pb2.ChangeRetentionRequest, deadline: Deadline
    ) -> shard_pb2.ChangeRetentionResponse:
        return await self._stub.ChangeRetention(request, timeout=deadline.remaining())

    async def read_document(
        self, request: shard_pb2.ReadDocumentRequest, deadline: Deadline
    ) -> shard_pb2.ReadDocumentResponse:
        return await self._stub.ReadDocument(request, timeout=deadline.remaining())

    async def write_document(
        self, request: shard_pb2.WriteDocumentRequest, deadline: Deadline
    ) -> shard_pb2.WriteDocumentResponse:
        return await self._stub.WriteDocument(request, timeout=deadline.remaining())

    async def read_digest(
        self, request: shard_pb2.ReadDigestRequest, deadline: Deadline
    ) -> shard_pb2.ReadDigestResponse:
        return await self._stub.ReadDigest(request, timeout=deadline.remaining())

    async def take_snapshot(
        self, request: shard_pb2.TakeSnapshotRequest, deadline: Deadline
    ) -> shard_pb2.TakeSnapshotResponse:
        return await self._stub.TakeSnapshot(request, timeout=deadline.remaining())

    async def purge_files(
        self, request: shard_pb2.PurgeFilesRequest, deadline: Deadline
    ) -> shard_pb2.PurgeFilesResponse:
        return await self._stub.PurgeFiles(request, timeout=deadline.remaining())

    async def capture_views(
        self, request: moving_pb2.CaptureViewsRequest, deadline: Deadline
    ) -> moving_pb2.CaptureViewsResponse:
        return await self._stub.CaptureViews(request, timeout=deadline.remaining())

    async def change_identity(
        self, request: moving_pb2.ChangeIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ChangeIdentityResponse:
        return await self._stub.ChangeIdentity(request, timeout=deadline.remaining())

    async def read_identity(
        self, request: moving_pb2.ReadIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentityResponse:
        return await self._stub.ReadIdentity(request, timeout=deadline.remaining())

    async def read_identities(
        self, request: moving_pb2.ReadIdentitiesRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentitiesResponse:
        return await self._stub.ReadIdentities(request, timeout=deadline.remaining())

    async def read_records(
        self, request: shard_pb2.ReadRecordsRequest, deadline: Deadline
    ) -> shard_pb2.ReadRecordsResponse:
        return await self._stub.ReadRecords(request, timeout=deadline.remaining())

    async def read_all(
        self, request: shard_pb2.ReadAllRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        async for response in self._stub.ReadAll(request, timeout=deadline.remaining()):
            yield response

    async def read_receipts(
        self, request: shard_pb2.ReadReceiptsRequest, deadline: Deadline
    ) -> shard_pb2.ReadReceiptsResponse:
        return await self._stub.ReadReceipts(request, timeout=deadline.remaining())

    async def change_suppressions(
        self, request: shard_pb2.ChangeSuppressionsRequest, deadline: Deadline
    ) -> shard_pb2.ChangeSuppressionsResponse:
        return await self._stub.ChangeSuppressions(request, timeout=deadline.remaining())

    async def scan_for_identifiers(
        self, request: shard_pb2.ScanForIdentifiersRequest, deadline: Deadline
    ) -> shard_pb2.ScanForIdentifiersResponse:
        return await self._stub.ScanForIdentifiers(request, timeout=deadline.remaining())

    async def change_quarantine(
        self, request: shard_pb2.ChangeQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ChangeQuarantineResponse:
        return await self._stub.ChangeQuarantine(request, timeout=deadline.remaining())

    async def read_quarantine(
        self, request: shard_pb2.ReadQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ReadQuarantineResponse:
        return await self._stub.ReadQuarantine(request, timeout=deadline.remaining())

    async def discover(
        self, request: shard_pb2.DiscoverNamesRequest, deadline: Deadline
    ) -> shard_pb2.DiscoverNamesResponse:
        return await self._stub.DiscoverNames(request, timeout=deadline.remaining())

    async def verify_snapshots(self, deadline: Deadline) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        request = shard_pb2.ShardServiceVerifySnapshotsRequest()
        return await self._stub.VerifySnapshots(request, timeout=deadline.remaining())

    async def close(self) -> None:
        await self._channel.close()
