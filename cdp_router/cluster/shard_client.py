"""The seam between router and shards: `grpc_shard_client` is one side of it, `local_shard_client` the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from cdp.v1 import moving_pb2, shard_pb2

from cdp_router.cluster.move_client import MoveClient
from cdp_router.deadline import Deadline

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

    async def read_identities(
        self, request: moving_pb2.ReadIdentitiesRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentitiesResponse:
        """Tell what partitions know of several identifiers."""

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
