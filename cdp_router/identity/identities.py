"""Owners of identifiers, across partitions: resolved, explained, and unlinked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cdp.v1 import identity_pb2, query_pb2
from cdp.v1 import moving_pb2 as pb

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import READ_IDENTITIES, READ_IDENTITY
from cdp_router.deadline import Deadline
from cdp_router.errors import RequestInvalid
from cdp_router.identity.profile_reference import checked
from cdp_router.identity.transfers import Mover
from cdp_router.limits import IDENTITIES_READ_MAX
from cdp_store.identity.identity_changes import Links
from cdp_store.identity.seats import seating_of
from cdp_store.ids import USER_ID, encode_identifier, rank_of_kind

Named = tuple[str, str]  # (kind, value)


class Identities:
    """Reads and corrects links, wherever they are kept."""

    def __init__(self, routing: Routing) -> None:
        self._routing, self._mover = routing, Mover(routing)

    async def profile_of(self, identifier: Named, deadline: Deadline) -> Named:
        """Identifier of the profile that another identifier belongs to; the same one if it belongs to none."""
        while identifier[0] != USER_ID:
            known = await self._read(self.home(identifier), identifier, deadline)
            if not known.HasField("belongs_to"):
                break
            identifier = known.belongs_to.kind, known.belongs_to.value
        return identifier

    async def profiles_of(self, identifiers: Iterable[Named], deadline: Deadline) -> Mapping[Named, Named]:
        """Several identifiers, each with the identifier of its profile."""
        given, above = {*identifiers}, dict[Named, Named]()
        waiting, asked = {each for each in given if each[0] != USER_ID}, set[Named]()
        while waiting:
            lot = sorted(waiting)[:IDENTITIES_READ_MAX]
            asked |= {*lot}
            for known in await self._read_all(lot, deadline):
                above |= {_named(each.identifier): _named(each.claimed_for) for each in known.bindings if each.holds}
            waiting |= {above[each] for each in lot if each in above}
            waiting = {each for each in waiting if each[0] != USER_ID} - asked
        return {each: _top(above, each) for each in given}

    async def explain(self, identifier: Named, deadline: Deadline) -> identity_pb2.ExplainIdentityResponse:
        """Profile of an identifier, and the bindings of all identifiers of that person."""
        profile = await self.profile_of(identifier, deadline)
        found, _ = await self._bindings({profile, identifier}, deadline)
        ordered = sorted(
            found.values(), key=lambda each: (each.identifier.kind, each.identifier.value, each.time.ToNanoseconds())
        )
        return identity_pb2.ExplainIdentityResponse(profile=_message(profile), bindings=ordered)

    async def identifiers_of(self, profile: Named, deadline: Deadline) -> set[Named]:
        """All identifiers that belong to a profile, its own included."""
        return (await self.mentions({profile}, deadline))[0]

    async def mentions(self, start: set[Named], deadline: Deadline) -> tuple[set[Named], set[int]]:
        """Some identifiers with all that belong to them, and the partitions that know of any of these."""
        (found, partitions), own = await self._bindings(start, deadline), set(start)
        for _ in found:
            own |= {lower for lower, upper in found if upper in own and found[lower, upper].holds}
        told = {identifier for pair in found for identifier in pair}
        return own, partitions | {self.home(identifier) for identifier in own | told}

    async def settle(self, deadline: Deadline) -> None:
        """Makes all due moves; ShardUnavailable if that is impossible."""
        await self._mover.settle_all(deadline)

    async def unlink(
        self, request: identity_pb2.UnlinkIdentifierRequest, deadline: Deadline
    ) -> identity_pb2.UnlinkIdentifierResponse:
        """Unlinks two identifiers for good; the necessary moves of profiles are done when this returns."""
        lower, upper = checked(request.identifier, "identifier"), checked(request.profile, "profile")
        if rank_of_kind(lower[0]) <= rank_of_kind(upper[0]):
            raise RequestInvalid(
                "profile", f"a {lower[0]} never belongs to a {upper[0]}; name them the other way round"
            )
        home = self.home(lower)
        links = Links.of([(encode_identifier(*lower), encode_identifier(*upper), 0, b"")], apart=True)
        response = await self._mover.change(home, links, deadline)
        # Killed before this, the seat is kept until the two are unlinked once more.
        await self._mover.change(self.home(upper), seating_of(links, self._routing.cluster.hash_key), deadline)
        await self._mover.settle_all(deadline)
        return identity_pb2.UnlinkIdentifierResponse(changed=response.done)

    async def _bindings(
        self, start: set[Named], deadline: Deadline
    ) -> tuple[Mapping[tuple[Named, Named], identity_pb2.IdentityBinding], set[int]]:
        """All pairs with one of these identifiers, or with one that belongs to them; and the partitions with records in
        quarantine, or seats, that name any of these."""
        asked, waiting, partitions = set[Named](), set(start), set[int]()
        found = dict[tuple[Named, Named], identity_pb2.IdentityBinding]()
        while waiting:
            lot = sorted(waiting)[:IDENTITIES_READ_MAX]
            asked |= {*lot}
            # A pair is kept in the partition of its lower identifier, which the upper one does not reveal.
            known = await self._read_all(lot, deadline)
            partitions |= {each.partition for each in known if each.mentioned}
            bindings = [binding for each in known for binding in each.bindings]
            found |= {(_named(each.identifier), _named(each.claimed_for)): each for each in bindings}
            waiting = (waiting | {_named(each.identifier) for each in bindings if each.holds}) - asked
        return found, partitions

    async def _read_all(self, identifiers: Sequence[Named], deadline: Deadline) -> list[pb.KnownIdentities]:
        """All partitions' knowledge of some identifiers, with one call per shard."""

        request = pb.ReadIdentitiesRequest(identifiers=map(_message, identifiers))
        answers = await self._routing.complete(READ_IDENTITIES, request, deadline)
        return [each for answer in answers for each in answer.partitions]

    async def _read(self, partition: int, identifier: Named, deadline: Deadline) -> pb.ReadIdentityResponse:
        request = pb.ReadIdentityRequest(identifier=_message(identifier))
        return await self._routing.one(READ_IDENTITY, request, deadline, partition)

    def home(self, identifier: Named) -> int:
        """The partition where an identifier lives."""
        return self._mover.home(encode_identifier(*identifier))


def _top(above: Mapping[Named, Named], identifier: Named) -> Named:
    while identifier in above:
        identifier = above[identifier]
    return identifier


def _message(identifier: Named) -> query_pb2.Identifier:
    return query_pb2.Identifier(kind=identifier[0], value=identifier[1])


def _named(identifier: query_pb2.Identifier) -> Named:
    return identifier.kind, identifier.value
