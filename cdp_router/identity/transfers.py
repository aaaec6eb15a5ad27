"""Moves of profiles to the partitions of their persons: any router may take or repeat each step.

docs/design/identity.md lists the steps, and the state after a crash between any two.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from cdp.v1 import moving_pb2 as pb

from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import CHANGE_IDENTITY
from cdp_router.deadline import Deadline
from cdp_router.errors import RouterError
from cdp_router.limits import MOVING_SECONDS
from cdp_store.errors import StoreError
from cdp_store.identity.identity_changes import (
    AllHome,
    Departure,
    Farewell,
    IdentityChange,
    Recall,
    encode_identity_change,
)
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.records.records import Strings

_LOG = logging.getLogger(__name__)
_PASSES_MAX = 64  # over partitions that profiles continue from; each identifier moves at most once per kind above it


@dataclass(frozen=True, slots=True)
class _Look:
    """The identifiers under which records were searched, and the partition that has more to do."""

    way: tuple[bytes, ...]
    touched: set[int]


class Mover:
    """Moves profiles from shard to shard."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._busy = defaultdict[int, asyncio.Lock](asyncio.Lock)

    async def settle(self, partitions: Iterable[int], deadline: Deadline) -> None:
        """Moves profiles that wait in some partitions, and those that these moves cause to wait in others.

        Moves that fail, or run out of time, are logged and tried again later.
        """
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
        if waiting:
            some = ", ".join(map(str, sorted(waiting)[:8]))
            _LOG.warning("profiles of %d partitions (%s) still wait to be moved: the time is over", len(waiting), some)

    async def settle_all(self, deadline: Deadline) -> None:
        """Moves all profiles that wait in any partition."""
        await self.settle(self._routing.map.partitions, deadline)

    async def keep_settled(self) -> None:
        """Finishes moves that no request waits for, such as those of a router that died; runs until cancelled."""
        while True:
            try:
                await self.settle_all(Deadline.after(None, MOVING_SECONDS))
            except (RouterError, StoreError, grpc.aio.AioRpcError) as error:
                _LOG.warning("profiles still wait to be moved: %s", error)
            await asyncio.sleep(MOVING_SECONDS)

    async def _advance(self, partition: int, deadline: Deadline) -> set[int]:
        """Takes all steps that are due for a partition; returns the partitions that may have more due now."""
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
            touched.add(transfer.to)
            if not await self._arrived(partition, transfer, deadline):
                continue  # it waits for another transfer there, or its source has started again: the next pass sends it
            farewell = Farewell(PartitionId(transfer.to), SequenceNumber(transfer.number))
            await self.change(partition, farewell, deadline)
        return touched

    async def _arrived(self, partition: int, transfer: pb.OpenTransfer, deadline: Deadline) -> bool:
        """Sends a transfer piece by piece; True if all of it has arrived then."""
        response = await self._encoded_change(transfer.to, transfer.arrival, b"", deadline)
        for piece in range(1, transfer.pieces):
            state = await self._encoded_change(partition, b"", b"", deadline, piece)
            for each in state.open:
                if (each.to, each.number) == (transfer.to, transfer.number):
                    response = await self._encoded_change(transfer.to, each.arrival, b"", deadline)
        return response.arrived

    async def _recall(self, wanted: pb.IdentifierPair, deadline: Deadline) -> set[int]:
        """Makes records leave the profile they are in, even if that has moved; or records that all are home.

        All are home if two searches along the same path find nothing. One is not enough: records may return to a
        partition that it has passed.
        """
        looks = [await self._look(wanted, deadline)]
        if not looks[0].touched:
            looks.append(await self._look(wanted, deadline))
        if looks[-1].touched or looks[0] != looks[1]:
            return looks[-1].touched
        home = self.home(wanted.identifier)
        response = await self.change(home, AllHome(wanted.identifier, wanted.belongs_to), deadline)
        return {home} if response.done else set()

    async def _look(self, wanted: pb.IdentifierPair, deadline: Deadline) -> _Look:
        """Follows the path of the records to the first partition that holds some or sends some on."""
        change = encode_identity_change(Recall(wanted.identifier, wanted.belongs_to))
        way, at = list[bytes](), wanted.belongs_to
        while at and at not in way:
            way.append(at)
            number = self.home(at)
            response = await self._encoded_change(number, change, at, deadline)
            if response.done or response.moving:
                return _Look(tuple(way), {number})
            at = response.place
        return _Look(tuple(way), set())

    async def change(
        self, partition: int, change: IdentityChange | None, deadline: Deadline
    ) -> pb.ChangeIdentityResponse:
        """Makes a partition apply a change of identifiers; with None it only reports the remaining moves."""
        encoded = b"" if change is None else encode_identity_change(change)
        return await self._encoded_change(partition, encoded, b"", deadline)

    async def _encoded_change(
        self, partition: int, change: bytes, place_of: bytes, deadline: Deadline, piece: int = 0
    ) -> pb.ChangeIdentityResponse:
        request = pb.ChangeIdentityRequest(change=change, place_of=place_of, piece=piece)
        return await self._routing.one(CHANGE_IDENTITY, request, deadline, partition)

    def home(self, identifier: bytes) -> int:
        """The partition where an encoded identifier lives."""
        cluster = self._routing.cluster
        return int(partitions_of(Strings.of([identifier]), cluster.hash_key, cluster.partitions)[0])
