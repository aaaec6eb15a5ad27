"""PrivacyService."""

from __future__ import annotations

from cdp.v1 import privacy_pb2 as pb
from cdp.v1 import privacy_pb2_grpc as pb_grpc

from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.security.privacy.privacy import Privacy, SharedPrivacy


class PrivacyService(pb_grpc.PrivacyServiceServicer):
    """Serves the settings of the values withheld from keys without profile-read."""

    def __init__(self, privacy: SharedPrivacy) -> None:
        self._privacy = privacy

    async def GetPrivacy(self, request: pb.GetPrivacyRequest, context: Context) -> pb.GetPrivacyResponse:
        """Returns the settings."""
        return pb.GetPrivacyResponse(privacy=_to_message(await self._privacy.newest(_deadline(context))))

    async def ChangePrivacy(self, request: pb.ChangePrivacyRequest, context: Context) -> pb.ChangePrivacyResponse:
        """Changes the settings."""
        smallest = request.smallest_count if request.HasField("smallest_count") else None
        after = await self._privacy.change(request.mark, request.unmark, smallest, _deadline(context))
        return pb.ChangePrivacyResponse(privacy=_to_message(after))


def _to_message(privacy: Privacy) -> pb.Privacy:
    return pb.Privacy(personal=privacy.personal, smallest_count=privacy.smallest_count)


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT).for_shards()
