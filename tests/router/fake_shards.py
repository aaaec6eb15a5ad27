"""Shards that fail in the ways a network and a process can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from cdp.v1 import moving_pb2, shard_pb2

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.contract.status import describe
from cdp_router.deadline import Deadline


def call_error(code: grpc.StatusCode, details: str = "", *, cause: Exception | None = None) -> grpc.aio.AioRpcError:
    """What a call over gRPC raises; with `cause`, as if the shard had ended the call with that error."""
    trailing = grpc.aio.Metadata()
    if cause is not None:
        trailing = grpc.aio.Metadata(("grpc-status-details-bin", describe(cause).SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details or code.name.lower())


class FailingShard:
    """Fails every call, after `before` good ones, with `error`; works again once `error` is None."""

    def __init__(self, inner: ShardClient, error: grpc.aio.AioRpcError | None = None, before: int = 0) -> None:
        self.address, self.inner, self.moves = inner.address, inner, inner.moves
        self.error, self.before = error, before
        self.calls = 0

    def _fail(self) -> None:
        self.calls += 1
        if self.error is not None and self.calls > self.before:
            raise self.error

    async def deliver(self, request: shard_pb2.DeliverRequest, deadline: Deadline) -> shard_pb2.DeliverResponse:
        self._fail()
        return await self.inner.deliver(request, deadline)

    async def evaluate(self, request: shard_pb2.EvaluateRequest, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        self._fail()
        return await self.inner.evaluate(request, deadline)

    async def list_members(
        self, request: shard_pb2.ListMembersRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ListMembersResponse]:
        async for response in self.inner.list_members(request, deadline):
            self._fail()
            yield response

    async def read_all(
        self, request: shard_pb2.ReadAllRequest, deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        async for response in self.inner.read_all(request, deadline):
            self._fail()
            yield response

    async def read_profile(
        self, request: shard_pb2.ReadProfileRequest, deadline: Deadline
    ) -> shard_pb2.ReadProfileResponse:
        self._fail()
        return await self.inner.read_profile(request, deadline)

    async def read_status(self, deadline: Deadline) -> shard_pb2.ReadStatusResponse:
        self._fail()
        return await self.inner.read_status(deadline)

    async def read_document(
        self, request: shard_pb2.ReadDocumentRequest, deadline: Deadline
    ) -> shard_pb2.ReadDocumentResponse:
        self._fail()
        return await self.inner.read_document(request, deadline)

    async def write_document(
        self, request: shard_pb2.WriteDocumentRequest, deadline: Deadline
    ) -> shard_pb2.WriteDocumentResponse:
        self._fail()
        return await self.inner.write_document(request, deadline)

    async def read_digest(
        self, request: shard_pb2.ReadDigestRequest, deadline: Deadline
    ) -> shard_pb2.ReadDigestResponse:
        self._fail()
        return await self.inner.read_digest(request, deadline)

    async def take_snapshot(
        self, request: shard_pb2.TakeSnapshotRequest, deadline: Deadline
    ) -> shard_pb2.TakeSnapshotResponse:
        self._fail()
        return await self.inner.take_snapshot(request, deadline)

    async def purge_files(
        self, request: shard_pb2.PurgeFilesRequest, deadline: Deadline
    ) -> shard_pb2.PurgeFilesResponse:
        self._fail()
        return await self.inner.purge_files(request, deadline)

    async def read_records(
        self, request: shard_pb2.ReadRecordsRequest, deadline: Deadline
    ) -> shard_pb2.ReadRecordsResponse:
        self._fail()
        return await self.inner.read_records(request, deadline)

    async def read_receipts(
        self, request: shard_pb2.ReadReceiptsRequest, deadline: Deadline
    ) -> shard_pb2.ReadReceiptsResponse:
        self._fail()
        return await self.inner.read_receipts(request, deadline)

    async def change_suppressions(
        self, request: shard_pb2.ChangeSuppressionsRequest, deadline: Deadline
    ) -> shard_pb2.ChangeSuppressionsResponse:
        self._fail()
        return await self.inner.change_suppressions(request, deadline)

    async def scan_for_identifiers(
        self, request: shard_pb2.ScanForIdentifiersRequest, deadline: Deadline
    ) -> shard_pb2.ScanForIdentifiersResponse:
        self._fail()
        return await self.inner.scan_for_identifiers(request, deadline)

    async def change_quarantine(
        self, request: shard_pb2.ChangeQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ChangeQuarantineResponse:
        self._fail()
        return await self.inner.change_quarantine(request, deadline)

    async def read_quarantine(
        self, request: shard_pb2.ReadQuarantineRequest, deadline: Deadline
    ) -> shard_pb2.ReadQuarantineResponse:
        self._fail()
        return await self.inner.read_quarantine(request, deadline)

    async def discover(
        self, request: shard_pb2.DiscoverNamesRequest, deadline: Deadline
    ) -> shard_pb2.DiscoverNamesResponse:
        self._fail()
        return await self.inner.discover(request, deadline)

    async def verify_snapshots(self, deadline: Deadline) -> shard_pb2.ShardServiceVerifySnapshotsResponse:
        self._fail()
        return await self.inner.verify_snapshots(deadline)

    async def read_schema(
        self, deadline: Deadline, kinds_of: shard_pb2.KnownNames | None = None
    ) -> shard_pb2.ReadSchemaResponse:
        self._fail()
        return await self.inner.read_schema(deadline, kinds_of)

    async def erase(
        self, request: shard_pb2.EraseProfilesRequest, deadline: Deadline
    ) -> shard_pb2.EraseProfilesResponse:
        self._fail()
        return await self.inner.erase(request, deadline)

    async def change_retention(
        self, request: shard_pb2.ChangeRetentionRequest, deadline: Deadline
    ) -> shard_pb2.ChangeRetentionResponse:
        self._fail()
        return await self.inner.change_retention(request, deadline)

    async def capture_views(
        self, request: moving_pb2.CaptureViewsRequest, deadline: Deadline
    ) -> moving_pb2.CaptureViewsResponse:
        self._fail()
        return await self.inner.capture_views(request, deadline)

    async def change_identity(
        self, request: moving_pb2.ChangeIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ChangeIdentityResponse:
        self._fail()
        return await self.inner.change_identity(request, deadline)

    async def read_identity(
        self, request: moving_pb2.ReadIdentityRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentityResponse:
        self._fail()
        return await self.inner.read_identity(request, deadline)

    async def read_identities(
        self, request: moving_pb2.ReadIdentitiesRequest, deadline: Deadline
    ) -> moving_pb2.ReadIdentitiesResponse:
        self._fail()
        return await self.inner.read_identities(request, deadline)

    async def close(self) -> None:
        await self.inner.close()


class SilentShard(FailingShard):
    """Never answers: a call ends when its deadline does, as gRPC ends it."""

    async def evaluate(self, request: Any, deadline: Deadline) -> shard_pb2.EvaluateResponse:
        await self._until(deadline)
        raise AssertionError("unreachable")

    async def deliver(self, request: Any, deadline: Deadline) -> shard_pb2.DeliverResponse:
        await self._until(deadline)
        raise AssertionError("unreachable")

    @staticmethod
    async def _until(deadline: Deadline) -> None:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), deadline.remaining())
        except TimeoutError:
            raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED) from None
