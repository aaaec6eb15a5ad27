"""ProfileService."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import msgspec
from cdp.v1 import profile_pb2, profile_pb2_grpc, query_pb2, shard_pb2

from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded, ProfileNotFound, RequestInvalid
from cdp_router.identity import profile_reference
from cdp_router.limits import (
    EVENT_NAMES_PER_PAGE_MAX,
    EXPORTS_MAX,
    EXPORTS_RETRY_MS,
    LONG_SECONDS_MAX,
    PROFILE_EVENTS_DEFAULT,
    PROFILE_EVENTS_MAX,
    PROFILES_PER_BATCH_MAX,
    PROFILES_READ_AT_ONCE,
    QUERY_SECONDS_DEFAULT,
)
from cdp_router.questions.queries import Queries
from cdp_router.security.privacy.discretion import Discretion
from cdp_router.security.privacy.masking import mask_identifiers
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS

_GIVEN_MAX = 2**32 - 1


class ProfileService(profile_pb2_grpc.ProfileServiceServicer):
    """Reads profiles."""

    def __init__(self, queries: Queries, discretion: Discretion) -> None:
        self._queries, self._discretion = queries, discretion
        self._exports = 0

    async def ExportProfile(
        self, request: profile_pb2.ExportProfileRequest, context: Context
    ) -> AsyncIterator[profile_pb2.ExportProfileResponse]:
        """Streams everything kept about a person; Overloaded while too many other exports run."""
        asked = profile_reference.named(request.name, "name.")
        if self._exports >= EXPORTS_MAX:
            raise Overloaded(f"{EXPORTS_MAX} persons are being exported", EXPORTS_RETRY_MS)
        self._exports += 1
        try:
            deadline = Deadline.after(context.time_remaining(), LONG_SECONDS_MAX).for_shards()
            async with aclosing(self._queries.people.export(asked, deadline)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._exports -= 1

    async def BatchGetProfiles(
        self, request: profile_pb2.BatchGetProfilesRequest, context: Context
    ) -> profile_pb2.BatchGetProfilesResponse:
        """Returns several profiles."""
        if not 1 <= len(request.names) <= PROFILES_PER_BATCH_MAX:
            raise RequestInvalid("names", f"must be 1 to {PROFILES_PER_BATCH_MAX} of them")
        events_max = PROFILE_EVENTS_MAX if len(request.names) == 1 else PROFILE_EVENTS_DEFAULT
        if request.events_max > events_max:
            how_many = "one profile" if len(request.names) == 1 else "several profiles"
            raise RequestInvalid("events_max", f"at most {events_max} with {how_many}")
        wanted = [
            self._wanted(name, f"names[{number}].", request.events_max) for number, name in enumerate(request.names)
        ]
        room, deadline = asyncio.Semaphore(PROFILES_READ_AT_ONCE), _deadline(context)
        masking = await self._discretion.about_one([each.identifier.kind for each in wanted], deadline)

        async def read(each: shard_pb2.ReadProfileRequest) -> profile_pb2.ProfileResult:
            async with room:
                try:
                    return profile_pb2.ProfileResult(profile=await self._queries.read_profile(each, deadline))
                except ProfileNotFound:
                    return profile_pb2.ProfileResult()

        results = await asyncio.gather(*map(read, wanted))
        found = [result.profile for result in results if result.HasField("profile")]
        await self._discretion.masked(found, masking, deadline)
        return profile_pb2.BatchGetProfilesResponse(results=results)

    async def ListProfileEvents(
        self, request: profile_pb2.ListProfileEventsRequest, context: Context
    ) -> profile_pb2.ListProfileEventsResponse:
        """Returns a page of a profile's events."""
        if request.page_size > PROFILE_EVENTS_MAX:
            raise RequestInvalid("page_size", f"at most {PROFILE_EVENTS_MAX}")
        if len(request.event_names) > EVENT_NAMES_PER_PAGE_MAX:
            raise RequestInvalid("event_names", f"at most {EVENT_NAMES_PER_PAGE_MAX}")
        size = request.page_size or PROFILE_EVENTS_DEFAULT
        wanted = self._wanted(request.name, "name.", size + 1)  # one more shows whether there is another page
        wanted.event_names.extend(request.event_names)
        if request.page_token:
            wanted.after.CopyFrom(_read_token(request.page_token))
        deadline = _deadline(context)
        masking = await self._discretion.about_one([wanted.identifier.kind], deadline)
        profile = await self._queries.read_profile(wanted, deadline)
        await self._discretion.masked([profile], masking, deadline)
        events = profile.events[:size]
        token = _token(events, wanted.after) if len(profile.events) > size else ""
        return profile_pb2.ListProfileEventsResponse(
            events=events, next_page_token=token, event_count=profile.event_count
        )

    async def ListProfileIdentifiers(
        self, request: profile_pb2.ListProfileIdentifiersRequest, context: Context
    ) -> profile_pb2.ListProfileIdentifiersResponse:
        """Returns the identifiers of a profile, its own first."""
        deadline = _deadline(context)
        wanted = self._wanted(request.name, "name.", 0)
        masking = await self._discretion.about_one([wanted.identifier.kind], deadline)
        profile = await self._queries.read_profile(wanted, deadline)
        own = await self._queries.people.identifiers_of(profile.identifiers[0], deadline)
        if masking is not None:
            mask_identifiers(own, masking)
        return profile_pb2.ListProfileIdentifiersResponse(identifiers=own)

    def _wanted(self, name: profile_pb2.ProfileName, path: str, events_max: int) -> shard_pb2.ReadProfileRequest:
        identifier, partition = self._queries.located(name, path)
        return shard_pb2.ReadProfileRequest(identifier=identifier, partition=partition, events_max=events_max)


def _token(events: Sequence[query_pb2.ProfileEvent], before: shard_pb2.PageEnd) -> str:
    """Start of the next page: after the last event of this one."""
    times = [event.time.ToMilliseconds() for event in events]
    given = times.count(times[-1]) + (before.given if before.time_ms == times[-1] else 0)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((times[-1], given))).decode()


def _read_token(token: str) -> shard_pb2.PageEnd:
    try:
        time_ms, given = msgspec.msgpack.decode(base64.urlsafe_b64decode(token), type=tuple[int, int])
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise RequestInvalid("page_token", "is not from an earlier page") from error
    if not (TIME_MIN_MS <= time_ms <= TIME_MAX_MS and 0 <= given <= _GIVEN_MAX):
        raise RequestInvalid("page_token", "is not from an earlier page")
    return shard_pb2.PageEnd(time_ms=time_ms, given=given)


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
