"""The asynchronous client: the same calls and the same retries on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack

import grpc
from cdp.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    export_pb2,
    export_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    named_segment_pb2,
    named_segment_pb2_grpc,
    privacy_pb2,
    privacy_pb2_grpc,
    profile_pb2,
    profile_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)

from cdp_router.client.asking import Asked, MembersOptions, QueryOptions, members_request, profile_name, query_request
from cdp_router.client.channels import HEALTH, OPTIONS
from cdp_router.client.credentials import authorization, tls_of_environment
from cdp_router.client.failures import Backoff, failure_of, told_count
from cdp_router.client.results import Answer, Event, Members, Profile
from cdp_router.rpc.carrying import carrying
from cdp_router.security.tls.renewing import renewing
from cdp_router.security.tls.tls import Tls

Response = TypeVar("Response")


def _connect(address: str, options: Sequence[tuple[str, Any]], tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return renewing(lambda: grpc.aio.secure_channel(address, tls.channel(), options=options), tls)


class AsyncClient:
    """A client of one router for one event loop; `options` are gRPC's channel options beside ours.

    Without `api_key` and `tls` those of the environment are used: CDP_API_KEY; CDP_TLS_CA, CDP_TLS_CERT, CDP_TLS_KEY.
    """

    def __init__(
        self,
        address: str,
        options: Sequence[tuple[str, Any]] = (),
        api_key: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.address = address
        shown = authorization(api_key)
        self._channel = _connect(address, (*OPTIONS, *options), tls or tls_of_environment())
        channel = carrying(self._channel, shown)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        self._query = query_pb2_grpc.QueryServiceStub(channel)
        self._export = export_pb2_grpc.ExportServiceStub(channel)
        self._profiles = profile_pb2_grpc.ProfileServiceStub(channel)
        self._segments = named_segment_pb2_grpc.SegmentServiceStub(channel)
        self._privacy = privacy_pb2_grpc.PrivacyServiceStub(channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()

    async def ingest(
        self, batch: ingest_pb2.Batch, timeout_seconds: float = 60.0, give_up_seconds: float = 60.0
    ) -> ingest_pb2.BatchResult:
        """Make a batch durable, trying again while the cluster is away."""
        request = ingest_pb2.IngestRequest(batch=batch)
        backoff = Backoff(time.monotonic(), give_up_seconds)
        while True:
            try:
                return (await self._ingest.Ingest(request, timeout=timeout_seconds)).result
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error, self.address)
                wait = backoff.next(error.code(), failure, time.monotonic())
                if wait is None:
                    raise failure from None
            await asyncio.sleep(wait)

    async def query(self, request: query_pb2.QueryRequest, timeout_seconds: float = 30.0) -> query_pb2.QueryResponse:
        """Ask a question given as a message; again while the cluster is busy, all within the time given."""
        give_up_at = time.monotonic() + timeout_seconds
        backoff = Backoff(time.monotonic(), timeout_seconds)
        while True:
            try:
                return await self._query.Query(request, timeout=give_up_at - time.monotonic())
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error, self.address)
                wait = backoff.next_question(failure, time.monotonic())
                if wait is None:
                    raise failure from None
            await asyncio.sleep(wait)

    async def answer(
        self, question: str | Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]
    ) -> Answer:
        """The typed answer to a question; `options` are fields of QueryRequest, such as tz, by, allow_partial."""
        return Answer.of(await self.query(query_request(question, **options), timeout_seconds))

    async def count(self, segment: str | Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]) -> int:
        """How many profiles are in a segment; RequestFailed where the key may not know, since there are too few."""
        return told_count(await self.answer(segment, timeout_seconds, **options))

    async def members(
        self, request: query_pb2.MembersRequest, timeout_seconds: float = 300.0
    ) -> AsyncIterator[query_pb2.MembersResponse]:
        """Stream a segment's members."""
        try:
            async for response in self._query.Members(request, timeout=timeout_seconds):
                yield response
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self.address) from None

    async def list_members(
        self, segment: str | Asked, timeout_seconds: float = 300.0, **options: Unpack[MembersOptions]
    ) -> Members:
        """The members of a segment, for Arrow, pandas or Polars; `options` are fields of MembersRequest."""
        request = members_request(segment, **options)
        return Members.of([response async for response in self.members(request, timeout_seconds)])

    async def find_profile(
        self,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        events_max: int = 0,
        timeout_seconds: float = 30.0,
    ) -> Profile | None:
        """One profile with its latest events (0: none), None where there is none."""
        return (await self.find_profiles([profile_name(user_id, anonymous_id)], events_max, timeout_seconds))[0]

    async def find_profiles(
        self, names: Sequence[profile_pb2.ProfileName], events_max: int = 0, timeout_seconds: float = 30.0
    ) -> list[Profile | None]:
        """Up to 100 profiles at once, in the order asked for."""
        request = profile_pb2.BatchGetProfilesRequest(names=names, events_max=events_max)
        found = await self._translated(lambda: self._profiles.BatchGetProfiles(request, timeout=timeout_seconds))
        return [Profile.of(each.profile) if each.HasField("profile") else None for each in found.results]

    async def timeline(
        self,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        event_names: Sequence[str] = (),
        page_size: int = 1000,
        timeout_seconds: float = 30.0,
    ) -> AsyncIterator[Event]:
        """All events of a profile, latest first, fetched page by page."""
        request = profile_pb2.ListProfileEventsRequest(
            name=profile_name(user_id, anonymous_id), page_size=page_size, event_names=event_names
        )
        while True:
            page = await self._translated(lambda: self._profiles.ListProfileEvents(request, timeout=timeout_seconds))
            for message in page.events:
                yield Event.of(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def export_profile(
        self, name: profile_pb2.ProfileName, timeout_seconds: float = 3600.0
    ) -> AsyncIterator[profile_pb2.ExportProfileResponse]:
        """Everything that is kept of a person, piece by piece."""
        request = profile_pb2.ExportProfileRequest(name=name)
        try:
            async for response in self._profiles.ExportProfile(request, timeout=timeout_seconds):
                yield response
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self.address) from None

    async def export_records(self, timeout_seconds: float = 3600.0) -> AsyncIterator[export_pb2.ExportRecordsResponse]:
        """Everything the cluster holds, piece by piece."""
        try:
            async for response in self._export.ExportRecords(
                export_pb2.ExportRecordsRequest(), timeout=timeout_seconds
            ):
                yield response
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self.address) from None

    async def status(self, timeout_seconds: float = 10.0) -> admin_pb2.GetStatusResponse:
        """Read the cluster's status."""
        request = admin_pb2.GetStatusRequest()
        return await self._translated(lambda: self._admin.GetStatus(request, timeout=timeout_seconds))

    async def create_segment(
        self, request: named_segment_pb2.CreateSegmentRequest, timeout_seconds: float = 30.0
    ) -> named_segment_pb2.NamedSegment:
        """Create a named segment, or its next version."""
        made = await self._translated(lambda: self._segments.CreateSegment(request, timeout=timeout_seconds))
        return made.segment

    async def segment(
        self, name: str, version: int | None = None, timeout_seconds: float = 30.0
    ) -> named_segment_pb2.NamedSegment:
        """Read a version of a named segment, the newest where none is given."""
        request = named_segment_pb2.GetSegmentRequest(name=name, version=version or 0)
        return (await self._translated(lambda: self._segments.GetSegment(request, timeout=timeout_seconds))).segment

    async def segments(self, timeout_seconds: float = 30.0) -> named_segment_pb2.ListSegmentsResponse:
        """List named segments in their newest versions."""
        request = named_segment_pb2.ListSegmentsRequest()
        return await self._translated(lambda: self._segments.ListSegments(request, timeout=timeout_seconds))

    async def delete_segment(self, name: str, timeout_seconds: float = 30.0) -> int:
        """Delete a named segment; the number of its versions."""
        request = named_segment_pb2.DeleteSegmentRequest(name=name)
        return (await self._translated(lambda: self._segments.DeleteSegment(request, timeout=timeout_seconds))).versions

    async def schema(self, timeout_seconds: float = 10.0) -> admin_pb2.GetSchemaResponse:
        """Read the names the cluster has seen."""
        request = admin_pb2.GetSchemaRequest()
        return await self._translated(lambda: self._admin.GetSchema(request, timeout=timeout_seconds))

    async def erase(
        self, request: admin_pb2.EraseProfileRequest, timeout_seconds: float = 30.0
    ) -> admin_pb2.EraseProfileResponse:
        """Forget a profile for good; asking again for one that is gone changes nothing."""
        return await self._translated(lambda: self._admin.EraseProfile(request, timeout=timeout_seconds))

    async def purge(self, timeout_seconds: float = 3600.0) -> admin_pb2.PurgeErasedResponse:
        """Remove what erased profiles have left in the files of every shard; wait for it."""
        request = admin_pb2.PurgeErasedRequest()
        return await self._translated(lambda: self._admin.PurgeErased(request, timeout=timeout_seconds))

    async def check(self, timeout_seconds: float = 10.0) -> None:
        """Find out whether a router answers, which needs no key."""
        ask: Any = self._channel.unary_unary(HEALTH)
        await self._translated(lambda: ask(b"", timeout=timeout_seconds))

    async def privacy(self, timeout_seconds: float = 30.0) -> privacy_pb2.Privacy:
        """What is withheld from keys without profile-read."""
        request = privacy_pb2.GetPrivacyRequest()
        return (await self._translated(lambda: self._privacy.GetPrivacy(request, timeout=timeout_seconds))).privacy

    async def change_privacy(
        self, request: privacy_pb2.ChangePrivacyRequest, timeout_seconds: float = 30.0
    ) -> privacy_pb2.Privacy:
        """Change what is withheld from keys without profile-read."""
        return (await self._translated(lambda: self._privacy.ChangePrivacy(request, timeout=timeout_seconds))).privacy

    async def retention(self, timeout_seconds: float = 30.0) -> admin_pb2.GetRetentionResponse:
        """Read how long events are kept."""
        request = admin_pb2.GetRetentionRequest()
        return await self._translated(lambda: self._admin.GetRetention(request, timeout=timeout_seconds))

    async def set_retention(
        self, rule: admin_pb2.RetentionRule, timeout_seconds: float = 60.0
    ) -> admin_pb2.SetRetentionResponse:
        """Change how long events are kept; older ones are dropped for good."""
        request = admin_pb2.SetRetentionRequest(rule=rule)
        return await self._translated(lambda: self._admin.SetRetention(request, timeout=timeout_seconds))

    async def digest(self, timeout_seconds: float = 3600.0) -> admin_pb2.GetDigestResponse:
        """Read the digest of all data."""
        request = admin_pb2.GetDigestRequest()
        return await self._translated(lambda: self._admin.GetDigest(request, timeout=timeout_seconds))

    async def snapshot(
        self, destination: str = "", timeout_seconds: float = 3600.0
    ) -> admin_pb2.CreateSnapshotResponse:
        """Have every shard write a snapshot, and copy it to a path or URI if one is given; wait for it."""
        request = admin_pb2.CreateSnapshotRequest(destination=destination)
        return await self._translated(lambda: self._admin.CreateSnapshot(request, timeout=timeout_seconds))

    async def verify(self, timeout_seconds: float = 3600.0) -> admin_pb2.VerifySnapshotsResponse:
        """Have every shard check the files of its snapshots."""
        request = admin_pb2.VerifySnapshotsRequest()
        return await self._translated(lambda: self._admin.VerifySnapshots(request, timeout=timeout_seconds))

    async def _translated(self, call: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self.address) from None
