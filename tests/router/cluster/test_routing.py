"""The partition map, and a router's way by it: whoever holds a partition, each one is answered for once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cdp.v1 import partition_pb2 as pb
from cdp.v1.shard_pb2 import ReadAllRequest, ReadDigestRequest, ReadProfileRequest
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.cluster.partition_map import PartitionMap, claims_of
from cdp_router.cluster.routing import Answers, Routing
from cdp_router.cluster.shard_methods import READ_ALL, READ_DIGEST, READ_PROFILE, StreamMethod, UnaryMethod
from cdp_router.contract.partition_claims import STATES, PartitionClaim, from_holdings, from_mismatch, to_mismatch
from cdp_router.deadline import Deadline
from cdp_router.errors import ShardUnavailable, WrongEpoch
from cdp_store.directory.holdings import Holding, HoldingState
from cdp_store.ids import PartitionId
from tests.router.fake_shards import call_error
from tests.router.local_cluster import CLUSTER, far_deadline

ALL = list(range(CLUSTER.partitions))


@dataclass(slots=True)
class Holder:
    """A shard that answers with what it was asked for, or refuses as a real one would."""

    number: int
    claims: dict[int, PartitionClaim]
    over_a_call: bool = False
    address: str = "there"
    asked: list[list[int]] = field(default_factory=list)
    error: grpc.aio.AioRpcError | None = None
    learns_before: tuple[int, dict[int, PartitionClaim]] | None = None  # (number of a call, what it knows from then on)

    async def answer(self, claims: Sequence[PartitionClaim]) -> list[PartitionClaim]:
        self.asked.append([claim.partition for claim in claims])
        if self.learns_before is not None and len(self.asked) == self.learns_before[0]:
            self.claims = self.learns_before[1]
        if self.error is not None:
            raise self.error
        wrong = [self.claims[claim.partition] for claim in claims if self.claims[claim.partition] != claim]
        if wrong and self.over_a_call:
            raise call_error(grpc.StatusCode.ABORTED, cause=WrongEpoch(wrong))
        if wrong:
            raise WrongEpoch(wrong)
        return list(claims)

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> list[PartitionClaim]:
        assert request.cluster == CLUSTER.cluster
        about = [request] if method is READ_PROFILE else request.partitions
        return await self.answer([PartitionClaim(each.partition, each.epoch, self.number) for each in about])

    async def stream(
        self, method: StreamMethod[Any, Any], request: Any, deadline: Deadline
    ) -> AsyncIterator[PartitionClaim]:
        for claim in await self.answer(
            [PartitionClaim(each.partition, each.epoch, self.number) for each in request.partitions]
        ):
            yield claim


def _cluster(
    truth: dict[int, PartitionClaim], *, over_a_call: bool = False, shards: int = 3
) -> tuple[Routing, list[Holder]]:
    holders = [Holder(number, truth, over_a_call) for number in range(shards)]
    return Routing(CLUSTER, {holder.number: holder for holder in holders}), holders  # type: ignore[misc]


def _dealt() -> dict[int, PartitionClaim]:
    return {number: PartitionClaim(number, 1, number % 2) for number in ALL}


def _gathered(routing: Routing, deadline: Deadline) -> Answers[Any]:
    return asyncio.run(routing.gather(READ_DIGEST, ReadDigestRequest(), deadline))


def _complete(routing: Routing) -> Sequence[Any]:
    return asyncio.run(routing.complete(READ_DIGEST, ReadDigestRequest(), far_deadline()))


def test_the_first_map_deals_partitions_out_in_turn() -> None:
    found = PartitionMap(CLUSTER)
    assert found.by_shard(ALL) == {
        0: [PartitionClaim(0, 1, 0), PartitionClaim(2, 1, 0)],
        1: [PartitionClaim(1, 1, 1), PartitionClaim(3, 1, 1)],
    }


@given(st.lists(st.builds(PartitionClaim, st.integers(0, 5), st.integers(0, 5), st.just(0)), max_size=20), st.randoms())
def test_the_newest_claims_hold_in_whatever_order_they_come(claims: list[PartitionClaim], chance: Any) -> None:
    # Two shards never claim one epoch: here the epoch says which shard it is.
    claims = [PartitionClaim(each.partition, each.epoch, 7 + each.epoch) for each in claims]
    first, second = PartitionMap(CLUSTER), PartitionMap(CLUSTER)
    first.merge(claims)
    chance.shuffle(claims)
    for claim in claims:
        before = second.claim(claim.partition) if claim.partition < 4 else None
        assert second.merge([claim]) == (before is not None and claim.epoch > before.epoch)
    assert [first.claim(number) for number in ALL] == [second.claim(number) for number in ALL]


def test_holdings_say_the_same_here_and_over_the_wire() -> None:
    holdings = {
        PartitionId(0): Holding(HoldingState.OWNED, 3),
        PartitionId(1): Holding(HoldingState.INCOMING, 3, 7),
        PartitionId(2): Holding(HoldingState.RELEASED, 3, 8),
        PartitionId(3): Holding(HoldingState.GONE, 3, 9),
    }
    claims = claims_of(5, holdings)
    assert claims == [
        PartitionClaim(0, 3, 5),
        PartitionClaim(1, 2, 7),
        PartitionClaim(2, 3, 8),
        PartitionClaim(3, 3, 9),
    ]
    messages = [
        pb.PartitionHolding(partition=number, epoch=held.epoch, state=STATES[held.state], shard=held.shard)
        for number, held in holdings.items()
    ]
    assert from_holdings(5, messages) == claims
    assert from_mismatch(to_mismatch(claims)) == claims


@pytest.mark.parametrize("over_a_call", [False, True])
def test_only_what_moved_is_asked_for_again(over_a_call: bool) -> None:
    truth = _dealt() | {2: PartitionClaim(2, 5, 2)}
    routing, [first, second, third] = _cluster(truth, over_a_call=over_a_call)
    answers = _complete(routing)
    found = {claim.partition: claim for answer in answers for claim in answer}
    assert (found, sum(map(len, answers))) == (truth, 4)
    assert (first.asked, second.asked, third.asked) == ([[0, 2], [0]], [[1, 3]], [[2]])
    assert asyncio.run(routing.one(READ_PROFILE, ReadProfileRequest(), far_deadline(), 2)) == [truth[2]]
    assert len(first.asked) == 2, "the map was learned"


def test_an_address_that_was_kept_is_another_one_once_the_map_is_newer() -> None:
    truth = _dealt()
    routing, [first, second, third] = _cluster(truth)
    for _ in range(2):
        assert sum(map(len, _complete(routing))) == len(ALL)
    assert len(routing._addresses) == 2 and first.asked == [[0, 2], [0, 2]]
    truth[2] = PartitionClaim(2, 5, 2)
    for _ in range(2):
        found = {claim.partition: claim for answer in _complete(routing) for claim in answer}
        assert found == truth
    assert (first.asked[2:], third.asked) == ([[0, 2], [0], [0]], [[2], [2]])
    assert second.asked == [[1, 3]] * 4
    kept = ReadDigestRequest(cluster=CLUSTER.cluster, partitions=[pb.PartitionEpoch(partition=2, epoch=5)])
    assert routing._addresses[READ_DIGEST, 2][1] == kept, "no question was written into it"


@pytest.mark.parametrize("over_a_call", [False, True])
def test_streams_cover_every_partition_once(over_a_call: bool) -> None:
    truth = _dealt() | {2: PartitionClaim(2, 5, 2), 3: PartitionClaim(3, 2, 0)}
    routing, _ = _cluster(truth, over_a_call=over_a_call)

    async def collect() -> list[PartitionClaim]:
        stream: AsyncIterator[Any] = routing.stream(READ_ALL, ReadAllRequest(), far_deadline(), 2)
        return [claim async for claim in stream]

    assert sorted(asyncio.run(collect()), key=lambda claim: claim.partition) == [truth[number] for number in ALL]


def test_a_partition_between_two_holders_is_asked_for_until_it_has_one() -> None:
    """The old holder has released it, and the new one is not there yet: as long as it says so, it is asked again."""
    truth = _dealt() | {2: PartitionClaim(2, 2, 2)}
    routing, [_, _, third] = _cluster(truth)
    third.claims, third.learns_before = {**truth, 2: PartitionClaim(2, 1, 0)}, (4, truth)
    answers = _complete(routing)
    assert sorted(claim.partition for answer in answers for claim in answer) == ALL
    assert third.asked == [[2]] * 4


def test_a_partition_that_finds_no_holder_in_time_is_missing() -> None:
    truth = _dealt() | {2: PartitionClaim(2, 2, 2)}
    routing, [_, _, third] = _cluster(truth)
    third.claims = {**truth, 2: PartitionClaim(2, 1, 0)}
    found = _gathered(routing, Deadline.after(0.02, 1.0))
    assert sorted(claim.partition for answer in found.answers for claim in answer) == [0, 1, 3]
    error = routing.error(found)
    assert isinstance(error, ShardUnavailable)
    assert error.partitions == (2,)
    assert "taking partitions over" in str(error)


def test_a_shard_without_an_address_and_one_that_is_away_are_named_with_what_they_hold() -> None:
    truth = _dealt() | {2: PartitionClaim(2, 5, 6)}
    routing, [_, second, _] = _cluster(truth)
    second.error = call_error(grpc.StatusCode.UNAVAILABLE)
    found = _gathered(routing, far_deadline())
    assert [claim for answer in found.answers for claim in answer] == [truth[0]]
    error = routing.error(found)
    assert isinstance(error, ShardUnavailable)
    assert error.partitions == (1, 2, 3)
    assert "shard 6 has no known address" in str(error)
    assert "shard 1 at there cannot be reached" in str(error)
    assert second.asked == [[1, 3]], "a shard that is away is not asked again"
