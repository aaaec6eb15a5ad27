"""ProofService."""

from __future__ import annotations

from cdp.v1 import proof_pb2, proof_pb2_grpc

from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.identity.profile_reference import named
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.questions.queries import Queries
from cdp_router.security.privacy.discretion import Discretion
from cdp_router.security.privacy.masking import mask_proof
from cdp_router.security.privacy.personal_data import check_mentions


class ProofService(proof_pb2_grpc.ProofServiceServicer):
    """Explains verdicts."""

    def __init__(self, queries: Queries, discretion: Discretion) -> None:
        self._queries, self._discretion = queries, discretion

    async def ExplainUser(
        self, request: proof_pb2.ExplainUserRequest, context: Context
    ) -> proof_pb2.ExplainUserResponse:
        """Returns the parts that decided about one user."""
        deadline = Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
        masking = await self._discretion.about_one([named(request)[0]], deadline)
        if masking is None:
            return await self._queries.explain_user(request, deadline)
        response = await self._queries.explain_user(request, deadline, lambda asked: check_mentions(asked, masking))
        mask_proof(response.proof, masking)
        return response
