"""Forgetting a profile, on the way through the router."""

from __future__ import annotations

from collections.abc import Awaitable

from cdp.v1 import admin_pb2, query_pb2, shard_pb2

from cdp_router.deadline import Deadline
from cdp_router.identifying import named
from cdp_router.partition_map import Claim
from cdp_router.partitioning import partitions_of
from cdp_router.routing import Routing
from cdp_router.shard_client import ShardClient
from cdp_store.ids import encode_identifier
from cdp_store.records import Strings


async def erase_profile(
    request: admin_pb2.EraseProfileRequest, routing: Routing, deadline: Deadline
) -> admin_pb2.EraseProfileResponse:
    """Have the shard that holds a profile forget it; ShardUnavailable when that cannot be reached."""
    kind, value = named(request)
    encoded = Strings.of([encode_identifier(kind, value)])
    cluster = routing.cluster
    partition = int(partitions_of(encoded, cluster.hash_key, cluster.partitions)[0])
    identifiers = [query_pb2.Identifier(kind=kind, value=value)]

    def ask(client: ShardClient, claim: Claim) -> Awaitable[shard_pb2.EraseProfilesResponse]:
        message = shard_pb2.EraseProfilesRequest(
            cluster=cluster.cluster, partition=partition, identifiers=identifiers, epoch=claim.epoch
        )
        return client.erase(message, deadline)

    response = await routing.one(partition, ask, deadline)
    return admin_pb2.EraseProfileResponse(erased=response.erased > 0, partition=partition, sequence=response.sequence)
