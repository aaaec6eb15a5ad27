"""ShardService: the shard server behind gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cdp.v1 import moving_pb2, shard_pb2, shard_pb2_grpc

from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.shard.server import ShardServer


class ShardService(shard_pb2_grpc.ShardServiceServicer):
    """Passes calls on to the shard server."""

    def __init__(self, server: ShardServer) -> None:
        self._server = server

    async def Deliver(self, request: shard_pb2.DeliverRequest, context: Context) -> shard_pb2.DeliverResponse:
        """Log, apply and acknowledge batches."""
        return await self._server.deliver(request)

    async def Evaluate(self, request: shard_pb2.EvaluateRequest, context: Context) -> shard_pb2.EvaluateResponse:
        """Contribute to an answer."""
        return await self._server.evaluate(request, _deadline(context))

    async def ListMembers(
        self, request: shard_pb2.ListMembersRequest, context: Context
    ) -> AsyncIterator[shard_pb2.ListMembersResponse]:
        """Stream members' identifiers."""
        async for response in self._server.list_members(request, _deadline(context)):
            yield response

    async def ReadProfile(
        self, request: shard_pb2.ReadProfileRequest, context: Context
    ) -> shard_pb2.ReadProfileResponse:
        """Read one profile."""
        return await self._server.read_profile(request)

    async def ProveUser(self, request: shard_pb2.ProveUserRequest, context: Context) -> shard_pb2.ProveUserResponse:
        """Explain the verdict on one user."""
        return await self._server.prove_user(request, _deadline(context))

    async def ReadStatus(self, request: shard_pb2.ReadStatusRequest, context: Context) -> shard_pb2.ReadStatusResponse:
        """Report sizes."""
        return await self._server.readings.status()

    async def ReadSchema(self, request: shard_pb2.ReadSchemaRequest, context: Context) -> shard_pb2.ReadSchemaResponse:
        """Report names."""
        return await self._server.readings.schema(request)

    async def EraseProfiles(
        self, request: shard_pb2.EraseProfilesRequest, context: Context
    ) -> shard_pb2.EraseProfilesResponse:
        """Forget profiles."""
        return await self._server.erasing.erase(request)

    async def ChangeRetention(
        self, request: shard_pb2.ChangeRetentionRequest, context: Context
    ) -> shard_pb2.ChangeRetentionResponse:
        """Change and read the rules of retention."""
        return await self._server.change_retention(request)

    async def ReadDocument(
        self, request: shard_pb2.ReadDocumentRequest, context: Context
    ) -> shard_pb2.ReadDocumentResponse:
        """Give a document of the cluster."""
        return await self._server.documents.read(request)

    async def WriteDocument(
        self, request: shard_pb2.WriteDocumentRequest, context: Context
    ) -> shard_pb2.WriteDocumentResponse:
        """Replace a document of the cluster."""
        return await self._server.documents.write(request)

    async def ReadDigest(self, request: shard_pb2.ReadDigestRequest, context: Context) -> shard_pb2.ReadDigestResponse:
        """Report digests."""
        return await self._server.read_digest(request)

    async def TakeSnapshot(
        self, request: shard_pb2.TakeSnapshotRequest, context: Context
    ) -> shard_pb2.TakeSnapshotResponse:
        """Write a snapshot."""
        return await self._server.take_snapshot(request)

    async def PurgeFiles(self, request: shard_pb2.PurgeFilesRequest, context: Context) -> shard_pb2.PurgeFilesResponse:
        """Remove what erased profiles have left in files."""
        return await self._server.purge_files(request)

    async def CaptureViews(
        self, request: moving_pb2.CaptureViewsRequest, context: Context
    ) -> moving_pb2.CaptureViewsResponse:
        """Hold views for a question."""
        return await self._server.capture_views(request)

    async def ChangeIdentity(
        self, request: moving_pb2.ChangeIdentityRequest, context: Context
    ) -> moving_pb2.ChangeIdentityResponse:
        """Do a change of identifiers."""
        return await self._server.change_identity(request)

    async def ReadIdentity(
        self, request: moving_pb2.ReadIdentityRequest, context: Context
    ) -> moving_pb2.ReadIdentityResponse:
        """Tell what is known of an identifier."""
        return await self._server.read_identity(request)

    async def ReadIdentities(
        self, request: moving_pb2.ReadIdentitiesRequest, context: Context
    ) -> moving_pb2.ReadIdentitiesResponse:
        """Tell what partitions know of several identifiers."""
        return await self._server.people.read_identities(request)

    async def ChangeSuppressions(
        self, request: shard_pb2.ChangeSuppressionsRequest, context: Context
    ) -> shard_pb2.ChangeSuppressionsResponse:
        """Change and tell under which identifiers nothing is taken."""
        return await self._server.erasing.change_suppressions(request)

    async def ScanForIdentifiers(
        self, request: shard_pb2.ScanForIdentifiersRequest, context: Context
    ) -> shard_pb2.ScanForIdentifiersResponse:
        """Look for identifiers through everything."""
        return await self._server.erasing.scan(request)

    async def DiscoverNames(
        self, request: shard_pb2.DiscoverNamesRequest, context: Context
    ) -> shard_pb2.DiscoverNamesResponse:
        """Say what partitions have seen."""
        return await self._server.discover(request)

    async def ChangeQuarantine(
        self, request: shard_pb2.ChangeQuarantineRequest, context: Context
    ) -> shard_pb2.ChangeQuarantineResponse:
        """Put records into quarantine, or let some go."""
        return await self._server.quarantine.change(request)

    async def ReadQuarantine(
        self, request: shard_pb2.ReadQuarantineRequest, context: Context
    ) -> shard_pb2.ReadQuarantineResponse:
        """Read an entry of the quarantine."""
        return await self._server.quarantine.read(request)

    async def ReadRecords(
        self, request: shard_pb2.ReadRecordsRequest, context: Context
    ) -> shard_pb2.ReadRecordsResponse:
        """Read some of everything that a profile holds."""
        return await self._server.people.read_records(request)

    async def ReadAll(
        self, request: shard_pb2.ReadAllRequest, context: Context
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        """Stream everything that partitions hold."""
        async for response in self._server.read_all(request, _deadline(context)):
            yield response

    async def ReadReceipts(
        self, request: shard_pb2.ReadReceiptsRequest, context: Context
    ) -> shard_pb2.ReadReceiptsResponse:
        """Read how records came in."""
        return await self._server.people.read_receipts(request)

    async def VerifySnapshots(
        self, request: shard_pb2.ShardServiceVerifySnapshotsRequest, context: Context
    ) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        """Check the files of all snapshots."""
        return await self._server.verify_snapshots()


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
