"""Answers limited to what the key of a call may see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from cdp.v1 import named_segment_pb2, query_pb2, schema_pb2

from cdp_query import tree
from cdp_router.contract.question_codec import from_question, from_segment
from cdp_router.deadline import Deadline
from cdp_router.errors import NothingMarked, PersonalData
from cdp_router.rpc.call import current_principal, note
from cdp_router.rpc.principal import Role
from cdp_router.security.privacy.masking import mask_profile
from cdp_router.security.privacy.personal_data import check_conditions, is_personal
from cdp_router.security.privacy.privacy import Privacy, SharedPrivacy
from cdp_router.security.privacy.withheld_schema import withhold_seen
from cdp_router.security.privacy.withholding import withhold

Check = Callable[[tree.Question], None]


class Discretion:
    """Limits the answers to questions by the key of their caller."""

    def __init__(self, privacy: SharedPrivacy) -> None:
        self._privacy = privacy

    async def segments(
        self, segments: Sequence[named_segment_pb2.NamedSegment], deadline: Deadline
    ) -> Sequence[named_segment_pb2.NamedSegment]:
        """Named segments, without the definitions of those that test personal values.

        The description of a segment may name people: it is for keys that read them, or that define segments.
        """
        roles = current_principal().roles
        if roles.isdisjoint((Role.PROFILE_READ, Role.ADMIN)):
            for each in segments:
                each.ClearField("description")
        if Role.PROFILE_READ not in roles:
            privacy = await self._privacy.newest(deadline)
            for each in segments:
                if is_personal(from_segment(each.segment), privacy):
                    each.ClearField("segment")
                    each.text = "(personal)"
        return segments

    async def discovered(
        self, seen: schema_pb2.DiscoverSchemaResponse, deadline: Deadline
    ) -> schema_pb2.DiscoverSchemaResponse:
        """Discovery without small numbers and instants."""
        if Role.PROFILE_READ not in current_principal().roles:
            withhold_seen(seen, await self._privacy.newest(deadline))
        return seen

    async def about_one(self, kinds: Iterable[str], deadline: Deadline) -> Privacy | None:
        """Mask for a person who is named by identifiers of some kinds; None: this key sees everything.

        Raises NothingMarked if there is nothing to mask; PersonalData for a personal kind, since a hit would reveal it.
        """
        if Role.PROFILE_READ in current_principal().roles:
            return None
        privacy = await self._privacy.newest(deadline)
        if not privacy.personal:
            raise NothingMarked
        for kind in kinds:
            if privacy.is_personal(kind):
                raise PersonalData(kind)
        return privacy

    async def masked(
        self, profiles: Iterable[query_pb2.GetProfileResponse], privacy: Privacy | None, deadline: Deadline
    ) -> None:
        """Masks profiles if `about_one` returned a mask; a mark that was set meanwhile counts."""
        if privacy is not None:
            privacy = await self._privacy.newest(deadline)
            for profile in profiles:
                mask_profile(profile, privacy)

    async def answer(
        self, ask: Callable[[Check | None], Awaitable[query_pb2.QueryResponse]], deadline: Deadline
    ) -> query_pb2.QueryResponse:
        """The answer, without what its key may not see; PersonalData if the question itself reveals too much.

        `ask` gets a check to call with the question before any of it is evaluated, if there is one.
        """
        if Role.PROFILE_READ in current_principal().roles:
            response = await ask(None)
            note(plan_hash=response.plan_hash, count=response.count)
            return response
        before = await self._privacy.newest(deadline)
        response = await ask(lambda question: check_conditions(question, before))
        note(plan_hash=response.plan_hash, count=response.count)
        # The settings are read again after the answer: a mark that was set meanwhile counts.
        privacy = await self._privacy.newest(deadline)
        await asyncio.to_thread(_withheld, response, privacy)
        return response


def _withheld(response: query_pb2.QueryResponse, privacy: Privacy) -> None:
    question = from_question(response.question)
    check_conditions(question, privacy)
    withhold(response, question, privacy)
