"""Answers as the key of a call may see them."""

from __future__ import annotations

from collections.abc import Awaitable

from cdp.v1 import query_pb2

from cdp_router.deadline import Deadline
from cdp_router.rpc.call import current_principal, note
from cdp_router.security.personal_data import check_conditions
from cdp_router.security.principal import Role
from cdp_router.security.privacy import SharedPrivacy
from cdp_router.security.withholding import withhold
from cdp_router.wire.questions import from_question


class Discretion:
    """Stands between questions and who asked them."""

    def __init__(self, privacy: SharedPrivacy) -> None:
        self._privacy = privacy

    async def answer(self, asked: Awaitable[query_pb2.QueryResponse], deadline: Deadline) -> query_pb2.QueryResponse:
        """The answer, without what its key may not see; PersonalData where the question itself goes too far."""
        response = await asked
        note(plan_hash=response.plan_hash, count=response.count)
        if Role.PROFILE_READ not in current_principal().roles:
            # What is withheld is read after the answer: a mark that was set meanwhile counts.
            privacy, question = await self._privacy.newest(deadline), from_question(response.question)
            check_conditions(question, privacy)
            withhold(response, question, privacy)
        return response
