"""A router's side of shards in its own process."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cdp.v1 import moving_pb2, shard_pb2

from cdp_router.cluster.move_client import MoveClient
from cdp_router.cluster.shard_client import KindsOf
from cdp_router.deadline import Deadline
from cdp_router.shard.moves.local import LocalMoveClient
from cdp_router.shard.server import ShardServer


class LocalShardClient:
    """A shard in this process: for tests, and for measuring what the network costs."""

    def __init__(self, server: ShardServer, address: str = "local") -> None:
        self.address = address
        self._server = server
        self.moves: MoveClient = LocalMoveClient(server.moves)

    async def deliver(self, request: shard_pb2.DeliverRequest, deadline: Deadline) -> shard_pb2.DeliverResponse:
        return await self._server.deliver(request)

    async def evaluate(self, request: shard_pb2.EvaluateRequest, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        return await self._server.evaluate(request, deadline)

    def list_members(
        self, request: shard_pb2.ListMembersRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ListMembersResponse]:
        return self._server.list_members(request, deadline)

    async def read_profile(
        self, request: shard_pb2.ReadProfileRequest, deadline: Deadline
    ) -> shard_pb2.ReadProfileResponse:
        return await self._server.read_profile(request)

    async def prove_user(self, request: shard_pb2.ProveUserRequest, deadline: Deadline) -> shard_pb2.ProveUserResponse:
        return await self._server.prove_user(request, deadline)

    async def read_status(self, deadline: Deadline) -> shard_pb2.ReadStatusResponse:
        return await self._server.readings.status()

    async def read_schema(self, deadline: Deadline, kinds_of: KindsOf = None) -> shard_pb2.ReadSchemaResponse:
        return await self._server.readings.schema(shard_pb2.ReadSchemaRequest(kinds_of=kinds_of))

    async def erase(
        self, request: shard_pb2.EraseProfilesRequest, deadline: Deadline
    ) -> shard_pb2.EraseProfilesResponse:
        return await self._server.erasing.erase(request)

    async def change_retention(
        self, request: shard_pb2.ChangeRetentionRequest, deadline: Deadline
    ) -> shard_pb2.ChangeRetentionResponse:
        return await self._server.change_retention(request)

    async def read_document(
        self, request: shard_pb2.ReadDocumentRequest, deadline: Deadline
    ) -> shard_pb2.ReadDocumentResponse:
        return await self._server.documents.read(request)

    async def write_document(
        self, request: shard_pb2.WriteDocumentRequest, deadline: Deadline
    ) -> shard_pb2.WriteDocumentResponse:
        return await self._server.documents.write(request)

    async def read_digest(
        self, request: shard_pb2.ReadDigestRequest, deadline: Deadline
    ) -> shard_pb2.ReadDigestResponse:
        return await self._server.read_digest(request)

    async def take_snapshot(
        self, request: shard_pb2.TakeSnapshotRequest, deadline: Deadline
    ) -> shard_pb2.TakeSnapshotResponse:
        return await self._server.take_snapshot(request)

    async def purge_files(
        self, request: shard_pb2.PurgeFilesRequest, deadline: Deadline
    ) -> shard_pb2.PurgeFilesResponse:
        return await self._server.purge_files(request)

    async def capture_views(
        self, request: moving_pb2.CaptureViewsRequest, deadline: Deadline
    ) -> moving_pb2.CaptureViewsResponse:
        return await self._server.capture_views(request)

    async def change_identity(
        self, request: moving_pb2.ChangeIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ChangeIdentityResponse:
        return await self._server.change_identity(request)

    async def read_identity(
        self, request: moving_pb2.ReadIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentityResponse:
        return await self._server.read_identity(request)

    async def read_identities(
        self, request: moving_pb2.ReadIdentitiesRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentitiesResponse:
        return await self._server.people.read_identities(request)

    async def read_records(
        self, request: shard_pb2.ReadRecordsRequest, deadline: Deadline
    ) -> shard_pb2.ReadRecordsResponse:
        return await self._server.people.read_records(request)

    def read_all(
        self, request: shard_pb2.ReadAllRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        return self._server.read_all(request, deadline)

    async def read_receipts(
        self, request: shard_pb2.ReadReceiptsRequest, deadline: Deadline
    ) -> shard_pb2.ReadReceiptsResponse:
        return await self._server.people.read_receipts(request)

    async def change_suppressions(
        self, request: shard_pb2.ChangeSuppressionsRequest, deadline: Deadline
    ) -> shard_pb2.ChangeSuppressionsResponse:
        return await self._server.erasing.change_suppressions(request)

    async def scan_for_identifiers(
        self, request: shard_pb2.ScanForIdentifiersRequest, deadline: Deadline
    ) -> shard_pb2.ScanForIdentifiersResponse:
        return await self._server.erasing.scan(request)

    async def change_quarantine(
        self, request: shard_pb2.ChangeQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ChangeQuarantineResponse:
        return await self._server.quarantine.change(request)

    async def read_quarantine(
        self, request: shard_pb2.ReadQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ReadQuarantineResponse:
        return await self._server.quarantine.read(request)

    async def discover(
        self, request: shard_pb2.DiscoverNamesRequest, deadline: Deadline
    ) -> shard_pb2.DiscoverNamesResponse:
        return await self._server.discover(request)

    async def verify_snapshots(self, deadline: Deadline) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        return await self._server.verify_snapshots()

    async def close(self) -> None:
        await self._server.close()
