"""Moves profiles to the partitions of the persons they belong to: every step may be taken by any router, or again.

ARCHITECTURE.md ("Identity") tells the steps and what a crash between any two leaves behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable

import grpc
from cdp.v1 import moving_pb2 as pb

from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.contract.claims import Claim
from cdp_router.deadline import Deadline
from cdp_router.errors import RouterError
from cdp_router.limits import MOVING_SECONDS
from cdp_store.errors import StoreError
from cdp_store.identity.changes import Departure, Farewell, IdentityChange, Recall, encode_identity_change
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.records.records import Strings

_LOG = logging.getLogger(__name__)
_PASSES_MAX = 64  # over partitions that profiles go on from; each identifier moves on at most once per kind above it


class Mover:
    """Carries profiles from shard to shard."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._busy = defaultdict[int, asyncio.Lock](asyncio.Lock)

    async def settle(self, partitions: Iterable[int], deadline: Deadline) -> None:
        """Move what waits in partitions, and what that makes wait in others. What fails is tried again later."""
        waiting, passes = set(partitions), 0
        while waiting and passes < _PASSES_MAX and deadline.remaining():
            passes += 1
            steps = (self._advance(number, deadline) for number in sorted(waiting))
            moved = await asyncio.gather(*steps, return_exceptions=True)
            waiting = set[int]()
            for each in moved:
                if isinstance(each, BaseException):
                    raise each
                waiting |= each

    async def settle_all(self, deadline: Deadline) -> None:
        """Move whatever waits anywhere."""
        await self.settle(self._routing.map.partitions, deadline)

    async def keep_settled(self) -> None:
        """Finish what no request waits for, such as moves of a router that died; runs until cancelled."""
        while True:
            try:
                await self.settle_all(Deadline.after(None, MOVING_SECONDS))
            except (RouterError, StoreError, grpc.aio.AioRpcError) as error:
                _LOG.warning("profiles wait for being moved: %s", error)
            await asyncio.sleep(MOVING_SECONDS)

    async def _advance(self, partition: int, deadline: Deadline) -> set[int]:
        """Take all steps there are for a partition; the partitions where that may have left more to do."""
        async with self._busy[partition]:
            state = await self.change(partition, None, deadline)
            touched = await self._finish(partition, state.open, deadline)
            by_target = defaultdict[int, list[tuple[bytes, bytes]]](list)
            for move in state.departures:
                by_target[self.home(move.belongs_to)].append((move.identifier, move.belongs_to))
            for to, moves in by_target.items():
                begun = await self.change(partition, Departure(PartitionId(to), tuple(moves)), deadline)
                touched |= await self._finish(partition, begun.open, deadline)
            for recall in state.recalls:
                touched |= await self._recall(recall, deadline)
            return touched | ({partition} if touched else set())

    async def _finish(self, partition: int, opened: Iterable[pb.OpenTransfer], deadline: Deadline) -> set[int]:
        touched = set[int]()
        for transfer in opened:
            if not await self._arrived(partition, transfer, deadline):
                continue  # its source has started again since: the next look sends it anew
            farewell = Farewell(PartitionId(transfer.to), SequenceNumber(transfer.number))
            await self.change(partition, farewell, deadline)
            touched.add(transfer.to)
        return touched

    async def _arrived(self, partition: int, transfer: pb.OpenTransfer, deadline: Deadline) -> bool:
        """Send a transfer piece by piece; whether all of it has arrived then."""
        response = await self._encoded_change(transfer.to, transfer.arrival, b"", deadline)
        for piece in range(1, transfer.pieces):
            state = await self._encoded_change(partition, b"", b"", deadline, piece)
            for each in state.open:
                if (each.to, each.number) == (transfer.to, transfer.number):
                    response = await self._encoded_change(transfer.to, each.arrival, b"", deadline)
        return response.arrived

    async def _recall(self, wanted: pb.IdentifierPair, deadline: Deadline) -> set[int]:
        """Have records leave the profile they stand in, wherever that has gone since."""
        at, seen = wanted.belongs_to, set[bytes]()
        while at and at not in seen:
            seen.add(at)
            number = self.home(at)
            change = encode_identity_change(Recall(wanted.identifier, wanted.belongs_to))
            response = await self._encoded_change(number, change, at, deadline)
            if response.done:
                return {number}
            at = response.place
        return set()

    async def change(
        self, partition: int, change: IdentityChange | None, deadline: Deadline
    ) -> pb.ChangeIdentityResponse:
        """Have a partition do a change of identifiers; with None only say what is left to move."""
        encoded = b"" if change is None else encode_identity_change(change)
        return await self._encoded_change(partition, encoded, b"", deadline)

    async def _encoded_change(
        self, partition: int, change: bytes, place_of: bytes, deadline: Deadline, piece: int = 0
    ) -> pb.ChangeIdentityResponse:
        def ask(client: ShardClient, claim: Claim) -> Awaitable[pb.ChangeIdentityResponse]:
            request = pb.ChangeIdentityRequest(
                cluster=self._routing.cluster.cluster,
                partition=partition,
                epoch=claim.epoch,
                change=change,
                place_of=place_of,
                piece=piece,
            )
            return client.change_identity(request, deadline)

        return await self._routing.one(partition, ask, deadline)

    def home(self, identifier: bytes) -> int:
        """The partition where an encoded identifier lives."""
        cluster = self._routing.cluster
        return int(partitions_of(Strings.of([identifier]), cluster.hash_key, cluster.partitions)[0])
