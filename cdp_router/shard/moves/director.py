"""A router's part in moves: it starts them, resumes them, and keeps its map up to date.

Nothing here is remembered: the shards themselves report, durably, which moves are under way. So any router may start a
move, any other may finish it, and all of them may do so at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from cdp.v1 import admin_pb2
from cdp.v1 import partition_pb2 as pb

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import FORGET_PARTITION, READ_HOLDINGS, STOP_TAKING, TAKE_PARTITION
from cdp_router.contract.partition_claims import from_holdings
from cdp_router.deadline import Deadline
from cdp_router.errors import MoveRefused, RequestInvalid, RouterError
from cdp_store.errors import StoreError

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 2.0
_CALL_SECONDS: Final = 5.0

Held = Mapping[int, Sequence[pb.PartitionHolding]]


@dataclass(frozen=True, slots=True)
class Placements:
    """Answers of the shards about partitions, and the shards that did not answer."""

    held: Held
    silent: Sequence[int]

    def holding(self, shard: int, partition: int) -> pb.PartitionHolding | None:
        """Answer of a shard about a partition."""
        return next((each for each in self.held.get(shard, ()) if each.partition == partition), None)

    def moves(self) -> list[tuple[int, pb.PartitionHolding]]:
        """(taker, its holding) of partitions on their way, including those that only their givers know."""
        found = {
            (each.partition, shard): each
            for shard, holdings in self.held.items()
            for each in holdings
            if each.state == pb.HOLDING_STATE_INCOMING
        }
        for giver, holdings in self.held.items():
            for each in holdings:
                # Released, and its taker does not know: it lost that with its directory, or was asked to stop too late.
                # The giver knows to whom it went, which is enough to begin again.
                if each.state != pb.HOLDING_STATE_RELEASED or self._has_it(each):
                    continue
                waiting = pb.PartitionHolding(
                    partition=each.partition, epoch=each.epoch, state=pb.HOLDING_STATE_INCOMING, shard=giver
                )
                found.setdefault((each.partition, each.shard), waiting)
        return [(shard, each) for (_, shard), each in sorted(found.items())]

    def unconfirmed(self) -> list[tuple[int, pb.PartitionHolding]]:
        """(giver, its holding) of partitions that their takers have without the givers' knowledge."""
        return [
            (giver, each)
            for giver, holdings in self.held.items()
            for each in holdings
            if each.state == pb.HOLDING_STATE_RELEASED and self._has_it(each)
        ]

    def _has_it(self, released: pb.PartitionHolding) -> bool:
        """True if the taker has, or had, the partition at the epoch at which it was released."""
        taken = self.holding(released.shard, released.partition)
        # Epochs only grow: one beyond that of the release means that the partition was there and went on.
        if taken is None or taken.epoch < released.epoch:
            return False
        return taken.epoch > released.epoch or taken.state == pb.HOLDING_STATE_OWNED


class Director:
    """Moves of one cluster, directed by one of its routers."""

    def __init__(self, routing: Routing) -> None:
        self._routing, self._cluster = routing, routing.cluster.cluster

    async def look(self) -> Placements:
        """Asks all shards, and updates the map by their answers."""
        deadline, request = Deadline.after(_CALL_SECONDS, _CALL_SECONDS), pb.ReadHoldingsRequest(cluster=self._cluster)
        gathered = await self._routing.everywhere(READ_HOLDINGS, request, deadline)
        held = {shard: answer.holdings for shard, answer in gathered.answers.items()}
        # Merged by epoch, so that routers that look at different moments never go back to an older claim.
        self._routing.map.merge(claim for shard in held for claim in from_holdings(shard, held[shard]))
        return Placements(held, sorted(gathered.failures))

    async def resume(self) -> None:
        """Asks all shards, and resumes moves that have stopped."""
        found = await self.look()
        for taker, each in found.moves():
            if not each.progress.running:
                await self._unless_it_fails(taker, each, self._take)
        # A taker that stopped before it had its giver forget: else the giver would keep the memory for ever.
        for giver, each in found.unconfirmed():
            await self._unless_it_fails(giver, each, self._forget)

    async def keep(self) -> None:
        """Resume every few seconds until cancelled."""
        while True:
            try:
                await self.resume()
            except (grpc.aio.AioRpcError, RouterError, StoreError) as error:
                _LOG.warning("moves were not resumed: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def move(self, partition: int, target: int) -> admin_pb2.PartitionMove:
        """Makes a shard take a partition over; MoveRefused if it has it, or another one is about to."""
        if partition not in self._routing.map.partitions:
            raise RequestInvalid("partition", f"there are partitions 0 to {len(self._routing.map.partitions) - 1}")
        if target not in self._routing.shards:
            raise RequestInvalid("shard", f"no shard {target} is known; there are {sorted(self._routing.shards)}")
        found = await self.look()
        for taker, each in found.moves():
            # Checked against the present reports of shards. Two routers may still pass at once; the giver's epoch then
            # lets one through.
            if each.partition == partition and taker != target:
                raise MoveRefused(f"partition {partition} is on its way to shard {taker} already")
        claim = self._routing.map.claim(partition)
        if claim.shard == target:
            raise MoveRefused(f"partition {partition} lives on shard {target} already")
        wanted = pb.PartitionHolding(partition=partition, epoch=claim.epoch + 1, shard=claim.shard)
        return _told(target, await self._take(target, wanted))

    async def drain(self, source: int) -> list[admin_pb2.PartitionMove]:
        """Makes the shards with the fewest partitions take over all of one."""
        others = sorted(set(self._routing.shards) - {source})
        if source not in self._routing.shards:
            raise RequestInvalid("shard", f"no shard {source} is known; there are {sorted(self._routing.shards)}")
        found = await self.look()
        coming = {each.partition: taker for taker, each in found.moves()}
        if source in coming.values():
            raise MoveRefused(f"partitions are on their way to shard {source}; stop those moves first, or wait")
        others = [shard for shard in others if shard not in found.silent]
        if not others:
            raise MoveRefused("there is no other shard that answers")
        # With those on their way: a drain that is repeated while it runs deals the rest as evenly as the first time.
        load = {shard: len(self._routing.map.partitions_of(shard)) for shard in others}
        for taker in coming.values():
            load[taker] = load.get(taker, 0) + 1
        moves = list[admin_pb2.PartitionMove]()
        for partition in self._routing.map.partitions_of(source):
            target = coming.get(partition)
            if target is None:
                target = min(others, key=lambda shard: (load[shard], shard))
                load[target] += 1
            wanted = pb.PartitionHolding(
                partition=partition, epoch=self._routing.map.claim(partition).epoch + 1, shard=source
            )
            moves.append(_told(target, await self._take(target, wanted)))
        return moves

    async def stop(self, partition: int) -> bool:
        """Keeps a partition in its place; False if that is too late, or nothing is under way."""
        found = await self.look()
        request, stopped = pb.StopTakingRequest(cluster=self._cluster, partition=partition), False
        for taker, each in found.moves():
            if each.partition == partition:
                answer = await self._shard(taker).call(STOP_TAKING, request, _soon())
                stopped = stopped or answer.stopped
        return stopped

    async def list(self) -> admin_pb2.ListPlacementsResponse:
        """Places of partitions, and the progress of those on their way."""
        found = await self.look()
        claims = [self._routing.map.claim(number) for number in self._routing.map.partitions]
        moves = [_told(taker, each) for taker, each in found.moves()]
        for move in moves:
            giver = found.holding(move.from_shard, move.partition)
            move.released = giver is not None and giver.state == pb.HOLDING_STATE_RELEASED
        return admin_pb2.ListPlacementsResponse(
            placements=[
                admin_pb2.Placement(partition=each.partition, shard=each.shard, epoch=each.epoch) for each in claims
            ],
            moves=moves,
            silent_shards=found.silent,
        )

    async def _unless_it_fails(
        self, shard: int, wanted: pb.PartitionHolding, step: Callable[[int, pb.PartitionHolding], Awaitable[object]]
    ) -> None:
        """Runs a step of one move; its failure must not stop the others."""
        try:
            await step(shard, wanted)
        except (grpc.aio.AioRpcError, RouterError, StoreError) as error:
            _LOG.warning("the move of partition %d has stopped at shard %d: %s", wanted.partition, shard, error)

    async def _forget(self, giver: int, released: pb.PartitionHolding) -> None:
        partition, epoch = released.partition, released.epoch
        request = pb.ForgetPartitionRequest(cluster=self._cluster, partition=partition, epoch=epoch)
        await self._shard(giver).call(FORGET_PARTITION, request, _soon())

    def _shard(self, number: int) -> ShardClient:
        """A shard that may have left since it was asked: MoveRefused."""
        shard = self._routing.shards.get(number)
        if shard is None:
            raise MoveRefused(f"shard {number} is no longer known here")
        return shard

    async def _take(self, taker: int, wanted: pb.PartitionHolding) -> pb.PartitionHolding:
        giver = self._routing.shards.get(wanted.shard)
        if giver is None or taker not in self._routing.shards:
            raise MoveRefused(f"shards {wanted.shard} and {taker} are not both known here")
        request = pb.TakePartitionRequest(
            cluster=self._cluster,
            partition=wanted.partition,
            epoch=wanted.epoch,
            from_shard=wanted.shard,
            from_address=giver.address,
        )
        return (await self._shard(taker).call(TAKE_PARTITION, request, _soon())).holding


def _told(taker: int, holding: pb.PartitionHolding) -> admin_pb2.PartitionMove:
    progress = holding.progress
    return admin_pb2.PartitionMove(
        partition=holding.partition,
        from_shard=holding.shard,
        to_shard=taker,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        records_behind=progress.records_behind,
        problem="" if progress.running else progress.problem,
    )


def _soon() -> Deadline:
    return Deadline.after(_CALL_SECONDS, _CALL_SECONDS)
