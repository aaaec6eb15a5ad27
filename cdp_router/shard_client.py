"""The seam between router and shards: one implementation over gRPC, one in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from cdp.v1 import moving_pb2, shard_pb2, shard_pb2_grpc

from cdp_router.deadline import Deadline
from cdp_router.moves.client import GrpcMoveClient, MoveClient
from cdp_router.moves.local import LocalMoveClient
from cdp_router.rpc.carrying import carrying
from cdp_router.security.links import Link
from cdp_router.shard_server import ShardServer

KindsOf = shard_pb2.KnownNames | None


class ShardClient(Protocol):
    """What a router asks of one shard; failures of the shard itself are grpc.RpcError."""

    address: str

    @property
    def moves(self) -> MoveClient:
        """What is asked of the shard about its partitions."""

    async def deliver(self, request: shard_pb2.DeliverRequest, deadline: Deadline) -> shard_pb2.DeliverResponse:
        """Log, apply and acknowledge batches."""

    async def evaluate(self, request: shard_pb2.EvaluateRequest, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        """Contribute to an answer."""

    def list_members(
        self, request: shard_pb2.ListMembersRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ListMembersResponse]:
        """Stream members' identifiers."""

    async def read_profile(
        self, request: shard_pb2.ReadProfileRequest, deadline: Deadline
    ) -> shard_pb2.ReadProfileResponse:
        """Read one profile."""

    async def prove_user(self, request: shard_pb2.ProveUserRequest, deadline: Deadline) -> shard_pb2.ProveUserResponse:
        """Explain the verdict on one user."""

    async def read_status(self, deadline: Deadline) -> shard_pb2.ReadStatusResponse:
        """Read sizes."""

    async def read_schema(self, deadline: Deadline, kinds_of: KindsOf = None) -> shard_pb2.ReadSchemaResponse:
        """Read names, and the kinds of values under some of them."""

    async def erase(
        self, request: shard_pb2.EraseProfilesRequest, deadline: Deadline
    ) -> shard_pb2.EraseProfilesResponse:
        """Forget profiles."""

    async def change_retention(
        self, request: shard_pb2.ChangeRetentionRequest, deadline: Deadline
    ) -> shard_pb2.ChangeRetentionResponse:
        """Change and read the rules of retention."""

    async def read_document(
        self, request: shard_pb2.ReadDocumentRequest, deadline: Deadline
    ) -> shard_pb2.ReadDocumentResponse:
        """Read a document of the cluster."""

    async def write_document(
        self, request: shard_pb2.WriteDocumentRequest, deadline: Deadline
    ) -> shard_pb2.WriteDocumentResponse:
        """Replace a document of the cluster."""

    async def read_digest(
        self, request: shard_pb2.ReadDigestRequest, deadline: Deadline
    ) -> shard_pb2.ReadDigestResponse:
        """Read digests."""

    async def take_snapshot(
        self, request: shard_pb2.TakeSnapshotRequest, deadline: Deadline
    ) -> shard_pb2.TakeSnapshotResponse:
        """Write a snapshot."""

    async def purge_files(
        self, request: shard_pb2.PurgeFilesRequest, deadline: Deadline
    ) -> shard_pb2.PurgeFilesResponse:
        """Remove what erased profiles have left in files."""

    async def capture_views(
        self, request: moving_pb2.CaptureViewsRequest, deadline: Deadline
    ) -> moving_pb2.CaptureViewsResponse:
        """Hold views for a question."""

    async def change_identity(
        self, request: moving_pb2.ChangeIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ChangeIdentityResponse:
        """Do a change of identifiers."""

    async def read_identity(
        self, request: moving_pb2.ReadIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentityResponse:
        """Tell what is known of an identifier."""

    async def read_records(
        self, request: shard_pb2.ReadRecordsRequest, deadline: Deadline
    ) -> shard_pb2.ReadRecordsResponse:
        """Read some of everything that a profile holds."""

    def read_all(
        self, request: shard_pb2.ReadAllRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        """Stream everything that partitions hold."""

    async def read_receipts(
        self, request: shard_pb2.ReadReceiptsRequest, deadline: Deadline
    ) -> shard_pb2.ReadReceiptsResponse:
        """Read how records came in."""

    async def change_suppressions(
        self, request: shard_pb2.ChangeSuppressionsRequest, deadline: Deadline
    ) -> shard_pb2.ChangeSuppressionsResponse:
        """Change and tell under which identifiers nothing is taken."""

    async def scan_for_identifiers(
        self, request: shard_pb2.ScanForIdentifiersRequest, deadline: Deadline
    ) -> shard_pb2.ScanForIdentifiersResponse:
        """Look for identifiers through everything."""

    async def change_quarantine(
        self, request: shard_pb2.ChangeQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ChangeQuarantineResponse:
        """Put records into quarantine, or let some go."""

    async def read_quarantine(
        self, request: shard_pb2.ReadQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ReadQuarantineResponse:
        """Read an entry of the quarantine."""

    async def discover(
        self, request: shard_pb2.DiscoverNamesRequest, deadline: Deadline
    ) -> shard_pb2.DiscoverNamesResponse:
        """Say what partitions have seen."""

    async def verify_snapshots(self, deadline: Deadline) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        """Check the files of all snapshots."""

    async def close(self) -> None:
        """Let go of the connection."""


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
        return self._server.read_status()

    async def read_schema(self, deadline: Deadline, kinds_of: KindsOf = None) -> shard_pb2.ReadSchemaResponse:
        return await self._server.read_schema(shard_pb2.ReadSchemaRequest(kinds_of=kinds_of))

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
