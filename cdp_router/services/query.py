"""QueryService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cdp.v1 import query_pb2, query_pb2_grpc

from cdp_router.deadline import Deadline, monotonic_ms
from cdp_router.limits import QUERY_SECONDS_DEFAULT, SLOW_QUERY_MS_DEFAULT
from cdp_router.observing.slow_queries import AnsweredQueries
from cdp_router.observing.work_metrics import QueryMetrics
from cdp_router.queries import Queries
from cdp_router.status import Context


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Answers questions."""

    def __init__(self, queries: Queries, answered: AnsweredQueries | None = None) -> None:
        self._queries = queries
        self._answered = answered or AnsweredQueries(QueryMetrics(), SLOW_QUERY_MS_DEFAULT)

    async def Query(self, request: query_pb2.QueryRequest, context: Context) -> query_pb2.QueryResponse:
        """Answer a question."""
        response = await self._queries.query(request, _deadline(context), monotonic_ms())
        self._answered.answered(response)
        return response

    async def Members(
        self, request: query_pb2.MembersRequest, context: Context
    ) -> AsyncIterator[query_pb2.MembersResponse]:
        """Stream a segment's members."""
        async for response in self._queries.members(request, _deadline(context)):
            yield response

    async def GetProfile(self, request: query_pb2.GetProfileRequest, context: Context) -> query_pb2.GetProfileResponse:
        """Give one profile."""
        return await self._queries.profile(request, _deadline(context))


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
