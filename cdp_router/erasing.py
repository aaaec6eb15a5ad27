"""Forgetting a profile, on the way through the router."""

from __future__ import annotations

from collections.abc import Awaitable

from cdp.v1 import admin_pb2, query_pb2, shard_pb2

from cdp_router.deadline import Deadline
from cdp_router.identifying import named
from cdp_router.identities import Identities
from cdp_router.partition_map import Claim
from cdp_router.partitioning import partitions_of
from cdp_router.routing import Routing
from cdp_router.shard_client import ShardClient
from cdp_store.ids import encode_identifier
from cdp_store.records import Strings


async def erase_profile(
    request: admin_pb2.EraseProfileRequest, routing: Routing, deadline: Deadline
) -> admin_pb2.EraseProfileResponse:
    """Have the profile that an identifier belongs to forgotten, with all its identifiers and what links them.

    ShardUnavailable when a shard that knows any of it cannot be reached: some of it may be gone then, and it can be
    repeated.
    """
    asked, identities = named(request), Identities(routing)
    profile = await identities.profile_of(asked, deadline)
    own, partitions = await identities.mentions(profile, deadline)
    if len(own) > 1:
        await identities.settle(deadline)
    encoded = Strings.of([encode_identifier(*profile)])
    home = int(partitions_of(encoded, routing.cluster.hash_key, routing.cluster.partitions)[0])
    message = shard_pb2.EraseProfilesRequest(
        cluster=routing.cluster.cluster,
        identifiers=[query_pb2.Identifier(kind=kind, value=value) for kind, value in sorted(own)],
    )
    # The profile last: as long as it is there, repeating finds what else is left.
    for partition in [*sorted(partitions - {home}), home]:
        response = await _erase(message, partition, routing, deadline)
    return admin_pb2.EraseProfileResponse(erased=response.erased > 0, partition=home, sequence=response.sequence)


async def _erase(
    message: shard_pb2.EraseProfilesRequest, partition: int, routing: Routing, deadline: Deadline
) -> shard_pb2.EraseProfilesResponse:
    def ask(client: ShardClient, claim: Claim) -> Awaitable[shard_pb2.EraseProfilesResponse]:
        message.partition, message.epoch = partition, claim.epoch
        return client.erase(message, deadline)

    return await routing.one(partition, ask, deadline)
