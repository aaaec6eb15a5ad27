"""ProofService."""

from __future__ import annotations

from cdp.v1 import proof_pb2, proof_pb2_grpc

from cdp_router.deadline import Deadline
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.queries import Queries
from cdp_router.status import Context


class ProofService(proof_pb2_grpc.ProofServiceServicer):
    """Explains verdicts."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def ExplainUser(
        self, request: proof_pb2.ExplainUserRequest, context: Context
    ) -> proof_pb2.ExplainUserResponse:
        """Show what decided about one user."""
        deadline = Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
        return await self._queries.explain_user(request, deadline)
