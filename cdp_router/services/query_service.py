"""QueryService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from cdp.v1 import query_pb2, query_pb2_grpc

from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline, monotonic_ms
from cdp_router.errors import Overloaded
from cdp_router.identity.profile_reference import named
from cdp_router.limits import (
    MEMBER_STREAMS_MAX,
    MEMBER_STREAMS_RETRY_MS,
    QUERY_SECONDS_DEFAULT,
    SLOW_QUERY_MS_DEFAULT,
)
from cdp_router.observing.slow_queries import AnsweredQueries
from cdp_router.observing.work_metrics import QueryMetrics
from cdp_router.questions.queries import Queries
from cdp_router.security.privacy.discretion import Check, Discretion


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Answers questions."""

    def __init__(self, queries: Queries, discretion: Discretion, answered: AnsweredQueries | None = None) -> None:
        self._queries, self._discretion = queries, discretion
        self._member_streams = 0
        self._answered = answered or AnsweredQueries(QueryMetrics(), SLOW_QUERY_MS_DEFAULT)

    async def Query(self, request: query_pb2.QueryRequest, context: Context) -> query_pb2.QueryResponse:
        """Answers a question."""
        deadline = _deadline(context)
        asked_ms = monotonic_ms()

        async def ask(check: Check | None) -> query_pb2.QueryResponse:
            response = await self._queries.query(request, deadline, asked_ms, check)
            self._answered.answered(response)  # with its sizes, which keys without profile-read do not get
            return response

        return await self._discretion.answer(ask, deadline)

    async def Members(self, request: query_pb2.MembersRequest, context: Context) -> AsyncIterator[Any]:
        """Streams a segment's members, encoded; Overloaded while too many lists are running."""
        if self._member_streams >= MEMBER_STREAMS_MAX:
            raise Overloaded(f"{MEMBER_STREAMS_MAX} lists of members are running", MEMBER_STREAMS_RETRY_MS)
        self._member_streams += 1
        try:
            async with aclosing(self._queries.members(request, _deadline(context))) as responses:
                async for response in responses:
                    yield response
        finally:
            self._member_streams -= 1

    async def GetProfile(self, request: query_pb2.GetProfileRequest, context: Context) -> query_pb2.GetProfileResponse:
        """Returns one profile."""
        deadline = _deadline(context)
        masking = await self._discretion.about_one([named(request)[0]], deadline)
        profile = await self._queries.profile(request, deadline)
        await self._discretion.masked([profile], masking, deadline)
        return profile


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
