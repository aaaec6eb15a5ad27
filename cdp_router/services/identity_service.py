"""IdentityService."""

from __future__ import annotations

from cdp.v1 import identity_pb2, identity_pb2_grpc

from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.identity.identities import Identities
from cdp_router.identity.profile_reference import checked
from cdp_router.limits import QUERY_SECONDS_DEFAULT


class IdentityService(identity_pb2_grpc.IdentityServiceServicer):
    """Explains and corrects the links between identifiers."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def ExplainIdentity(
        self, request: identity_pb2.ExplainIdentityRequest, context: Context
    ) -> identity_pb2.ExplainIdentityResponse:
        """Reports the owner of an identifier, and the reasons."""
        return await self._identities.explain(checked(request.identifier, "identifier"), _deadline(context))

    async def UnlinkIdentifier(
        self, request: identity_pb2.UnlinkIdentifierRequest, context: Context
    ) -> identity_pb2.UnlinkIdentifierResponse:
        """Unlinks two identifiers for good."""
        return await self._identities.unlink(request, _deadline(context))


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
