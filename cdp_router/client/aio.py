"""The asynchronous client: the same calls and the same retries on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Unpack

import grpc
from cdp.v1 import (
    admin_pb2,
    export_pb2,
    ingest_pb2,
    named_segment_pb2,
    privacy_pb2,
    profile_pb2,
    query_pb2,
)

from cdp_router.client import methods
from cdp_router.client.asking import Asked, MembersOptions, QueryOptions, members_request, profile_name, query_request
from cdp_router.client.calls import Attempts, Call, Item, Page, Response, Result, Router, StreamCall
from cdp_router.client.channels import OPTIONS
from cdp_router.client.credentials import authorization, tls_of_environment
from cdp_router.client.failures import failure_of, told_count
from cdp_router.client.results import Answer, Event, Members, Profile
from cdp_router.security.tls.renewing import renewing
from cdp_router.security.tls.tls import Tls


def _connect(address: str, options: Sequence[tuple[str, Any]], tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return renewing(lambda: grpc.aio.secure_channel(address, tls.channel(), options=options), tls)


class AsyncClient:
    """A client of one router for one event loop; `options` are gRPC channel options in addition to the usual ones.

    Without `api_key` and `tls`, those of the environment are used: CDP_API_KEY; CDP_TLS_CA, CDP_TLS_CERT, CDP_TLS_KEY.
    """

    def __init__(
        self,
        address: str,
        options: Sequence[tuple[str, Any]] = (),
        api_key: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.address, shown = address, authorization(api_key)
        self._channel = _connect(address, (*OPTIONS, *options), tls or tls_of_environment())
        self._router = Router(self._channel, shown)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._channel.close()

    async def ingest(
        self, batch: ingest_pb2.Batch, timeout_seconds: float = 60.0, give_up_seconds: float = 60.0
    ) -> ingest_pb2.BatchResult:
        """Makes a batch durable, with retries while the cluster is away."""
        return await self._call(methods.ingest(batch), timeout_seconds, give_up_seconds)

    async def query(self, request: query_pb2.QueryRequest, timeout_seconds: float = 30.0) -> query_pb2.QueryResponse:
        """Asks a question given as a message, with retries while the cluster is busy, within one time limit."""
        return await self._call(methods.query(request), timeout_seconds)

    async def answer(
        self, question: str | Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]
    ) -> Answer:
        """The typed answer to a question; `options` are fields of QueryRequest, such as tz, by, allow_partial."""
        return Answer.from_response(await self.query(query_request(question, **options), timeout_seconds))

    async def count(self, segment: str | Asked, timeout_seconds: float = 30.0, **options: Unpack[QueryOptions]) -> int:
        """Counts the profiles in a segment.

        Raises RequestFailed with the reason COUNT_WITHHELD where the key may not see the count: there are too few users
        in the segment, or too few outside it.
        """
        return told_count(await self.answer(segment, timeout_seconds, **options))

    def members(
        self, request: query_pb2.MembersRequest, timeout_seconds: float = 300.0
    ) -> AsyncIterator[query_pb2.MembersResponse]:
        """Streams a segment's members."""
        return self._stream(methods.members(request), timeout_seconds)

    async def list_members(
        self, segment: str | Asked, timeout_seconds: float = 300.0, **options: Unpack[MembersOptions]
    ) -> Members:
        """The members of a segment, for Arrow, pandas or Polars; `options` are fields of MembersRequest."""
        request = members_request(segment, **options)
        return Members.from_responses([response async for response in self.members(request, timeout_seconds)])

    async def find_profile(
        self,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        events_max: int = 0,
        timeout_seconds: float = 30.0,
    ) -> Profile | None:
        """One profile with its latest events (0: none), or None if there is none."""
        return (await self.find_profiles([profile_name(user_id, anonymous_id)], events_max, timeout_seconds))[0]

    async def find_profiles(
        self, names: Sequence[profile_pb2.ProfileName], events_max: int = 0, timeout_seconds: float = 30.0
    ) -> list[Profile | None]:
        """Up to 100 profiles at once, in the requested order."""
        return await self._call(methods.find_profiles(names, events_max), timeout_seconds)

    async def timeline(
        self,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        event_names: Sequence[str] = (),
        page_size: int = 1000,
        timeout_seconds: float = 30.0,
    ) -> AsyncIterator[Event]:
        """All events of a profile, latest first, fetched page by page."""
        name = profile_name(user_id, anonymous_id)
        async for event in self._items(methods.timeline(name, event_names, page_size), timeout_seconds):
            yield event

    def export_profile(
        self, name: profile_pb2.ProfileName, timeout_seconds: float = 3600.0
    ) -> AsyncIterator[profile_pb2.ExportProfileResponse]:
        """Everything that is kept about a person, in pieces."""
        return self._stream(methods.export_profile(name), timeout_seconds)

    def export_records(self, timeout_seconds: float = 3600.0) -> AsyncIterator[export_pb2.ExportRecordsResponse]:
        """Everything that the cluster holds, in pieces."""
        return self._stream(methods.export_records(), timeout_seconds)

    async def status(self, timeout_seconds: float = 10.0) -> admin_pb2.GetStatusResponse:
        """Reads the cluster's status."""
        return await self._call(methods.status(), timeout_seconds)

    async def create_segment(
        self, request: named_segment_pb2.CreateSegmentRequest, timeout_seconds: float = 30.0
    ) -> named_segment_pb2.NamedSegment:
        """Creates a named segment, or its next version."""
        return await self._call(methods.create_segment(request), timeout_seconds)

    async def segment(
        self, name: str, version: int | None = None, timeout_seconds: float = 30.0
    ) -> named_segment_pb2.NamedSegment:
        """Reads a version of a named segment, by default the newest."""
        return await self._call(methods.segment(name, version), timeout_seconds)

    async def segments(self, timeout_seconds: float = 30.0) -> named_segment_pb2.ListSegmentsResponse:
        """Lists the newest versions of named segments."""
        return await self._call(methods.segments(), timeout_seconds)

    async def delete_segment(self, name: str, timeout_seconds: float = 30.0) -> int:
        """Deletes a named segment; returns the number of its versions."""
        return await self._call(methods.delete_segment(name), timeout_seconds)

    async def schema(self, timeout_seconds: float = 10.0) -> admin_pb2.GetSchemaResponse:
        """Reads the names that the cluster has seen."""
        return await self._call(methods.schema(), timeout_seconds)

    async def erase(
        self, request: admin_pb2.EraseProfileRequest, timeout_seconds: float = 30.0
    ) -> admin_pb2.EraseProfileResponse:
        """Erases a profile for good; repeating it has no effect."""
        return await self._call(methods.erase(request), timeout_seconds)

    async def purge(self, timeout_seconds: float = 3600.0) -> admin_pb2.PurgeErasedResponse:
        """Removes the remains of erased profiles from the files of every shard, and waits for it."""
        return await self._call(methods.purge(), timeout_seconds)

    async def check(self, timeout_seconds: float = 10.0) -> None:
        """Checks that a router answers, which needs no key."""
        await self._call(methods.check(), timeout_seconds)

    async def privacy(self, timeout_seconds: float = 30.0) -> privacy_pb2.Privacy:
        """Reads what keys without profile-read may not see: names marked personal, and counts below a minimum."""
        return await self._call(methods.privacy(), timeout_seconds)

    async def change_privacy(
        self, request: privacy_pb2.ChangePrivacyRequest, timeout_seconds: float = 30.0
    ) -> privacy_pb2.Privacy:
        """Changes what keys without profile-read may not see."""
        return await self._call(methods.change_privacy(request), timeout_seconds)

    async def retention(self, timeout_seconds: float = 30.0) -> admin_pb2.GetRetentionResponse:
        """Reads how long events are kept."""
        return await self._call(methods.retention(), timeout_seconds)

    async def set_retention(
        self, rule: admin_pb2.RetentionRule, timeout_seconds: float = 60.0
    ) -> admin_pb2.SetRetentionResponse:
        """Changes how long events are kept; older ones are dropped for good."""
        return await self._call(methods.set_retention(rule), timeout_seconds)

    async def digest(self, timeout_seconds: float = 3600.0) -> admin_pb2.GetDigestResponse:
        """Reads the digest of all data."""
        return await self._call(methods.digest(), timeout_seconds)

    async def snapshot(
        self, destination: str = "", timeout_seconds: float = 3600.0
    ) -> admin_pb2.CreateSnapshotResponse:
        """Makes every shard write a snapshot, and copy it to a path or URI if one is given; waits for it."""
        return await self._call(methods.snapshot(destination), timeout_seconds)

    async def verify(self, timeout_seconds: float = 3600.0) -> admin_pb2.VerifySnapshotsResponse:
        """Makes every shard check the files of its snapshots."""
        return await self._call(methods.verify(), timeout_seconds)

    async def _call(self, call: Call[Result], timeout_seconds: float, give_up_seconds: float | None = None) -> Result:
        attempts = Attempts(call.again, self.address, time.monotonic(), timeout_seconds, give_up_seconds)
        while True:
            try:
                response = await call.begin(self._router, attempts.seconds(time.monotonic()))
            except grpc.aio.AioRpcError as error:
                wait = attempts.wait_after(error, time.monotonic())
            else:
                return call.read(response)
            await asyncio.sleep(wait)

    async def _stream(self, call: StreamCall[Response], timeout_seconds: float) -> AsyncIterator[Response]:
        try:
            async for response in call.begin(self._router, timeout_seconds):
                yield response
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self.address) from None

    async def _items(self, call: Call[Page[Item]], timeout_seconds: float) -> AsyncIterator[Item]:
        more: Call[Page[Item]] | None = call
        while more is not None:
            page = await self._call(more, timeout_seconds)
            for item in page.items:
                yield item
            more = page.next
