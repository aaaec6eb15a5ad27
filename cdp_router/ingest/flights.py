"""Batches on their way to the shards: those that arrive while others are under way leave together with the next.

A shard's work has a cost per piece, and a batch of a hundred records is a handful for each partition. Batches of many
callers together form pieces of a useful size. Each caller gets the results of its own records only, and waits only for
the shards that these concern.

Links take two steps (docs/design/identity.md). With the records, the partition of the lower identifier is asked which
links are new, and the partition of the upper one reserves a seat. Then the new links, if any, go with the next flight.

The queue and the number of flights change on the event loop only, never across an await: no lock is needed. Threads
work on values that nothing changes meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final

import grpc
import numpy as np
from cdp.v1 import shard_pb2

from cdp_router.background import Background, awaited
from cdp_router.cluster.routing import Answers, Routing
from cdp_router.cluster.scatter import Failure
from cdp_router.cluster.shard_methods import DELIVER
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, RouterError
from cdp_router.identity.batch_links import earliest, joined, with_pairs, without_records
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.identity.transfers import Mover
from cdp_router.ingest.loads import Load, Said, Taken, load
from cdp_router.limits import (
    FLIGHT_BYTES_MAX,
    FLIGHT_RECORDS_MAX,
    FLIGHT_SECONDS,
    FLIGHTS_MAX,
    MOVING_SECONDS,
    PIECE_RECORDS,
)
from cdp_store.identity.identity_changes import Links
from cdp_store.limits import NAMES_PER_BATCH_MAX
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import RecordBatch, Strings

_LOG = logging.getLogger(__name__)
_NO_RECORDS: Final = BatchBuilder().finish()
_LATE: Final = "not all shards acknowledged in time; send the batch again, or allow more time"
Delivered = Answers[shard_pb2.DeliverResponse]


@dataclass(frozen=True, slots=True)
class _Flight:
    """A load under way: the call that delivers it, by partition."""

    load: Load
    calls: Mapping[int, asyncio.Task[Delivered]]
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class _Passenger:
    """A sender's batch that waits for a flight; `boarded` gives its number there and the flight once it is loaded."""

    said: Said
    deadline: Deadline
    boarded: asyncio.Future[tuple[int, asyncio.Task[_Flight]]]


class Flights:
    """Delivers batches to their shards; those that may be joined share a few flights at a time."""

    def __init__(self, routing: Routing, threads: Executor | None, limits: IdentifierLimits) -> None:
        self._routing, self._threads, self._limits = routing, threads, limits
        self._mover = Mover(routing)
        self._waiting = list[_Passenger]()
        self._background, self._under_way = Background(), 0
        self._tasks = set[asyncio.Task[object]]()  # asyncio holds tasks weakly: these would be collected

    async def deliver(self, batch: RecordBatch, links: Links, deadline: Deadline) -> Taken:
        """Makes a batch and its links durable on all shards that they concern.

        Raises an error that names the shards without an acknowledgement.
        """
        taken = await self._travelled(Said(batch, links), deadline)
        if len(taken.undecided):
            taken = await self._decided(taken, batch, links, deadline)
        if len(taken.unseated):
            taken = await self._seated(taken, deadline)
        return await self._linked(taken, deadline)

    async def _linked(self, taken: Taken, deadline: Deadline) -> Taken:
        """Logs the new links; if their upper identifier was erased, only if their seats still exist."""
        new, seated_at = taken.new_links, dict[int, int]()
        while len(new):
            said = Said(_NO_RECORDS, new_links=new, asked_at=taken.asked_at, seated_at=seated_at)
            logged = await self._travelled(said, deadline)
            taken = replace(taken, positions={**taken.positions, **logged.positions})
            # Noted before the check: an erasure after the check has a later position.
            new, seated_at = logged.doubted, {number: max(1, at) for number, at in logged.asked_at.items()}
            if len(new):
                if not deadline.remaining():
                    raise DeadlineMissed(_LATE)
                seats = Said(_NO_RECORDS, new, is_exact=True, is_again=True, asked_at=taken.taken_at)
                new = (await self._travelled(seats, deadline)).new_links
        return taken

    async def _decided(self, taken: Taken, batch: RecordBatch, links: Links, deadline: Deadline) -> Taken:
        """Delivers the undecided records with all of their links, so that seats precede them in the log."""
        others = np.ones(len(batch), np.bool_)
        others[taken.undecided] = False
        work = asyncio.get_running_loop().run_in_executor
        own = await work(self._threads, without_records, links, batch, others)
        later = await self._travelled(Said(batch.take(taken.undecided), own, is_exact=True), deadline)
        return taken.completed(later, self._routing.cluster.hash_key)

    async def _seated(self, taken: Taken, deadline: Deadline) -> Taken:
        """Requests seats for links of records accepted without; with message ids these would count as repeats."""
        late = taken.unseated
        seats = replace(late, message_ids=Strings.of([b""] * len(late)))
        # Alone: in a part of others that stays undecided no seat would be logged.
        asked = Said(_NO_RECORDS, seats, is_exact=True, asked_at=taken.taken_at)
        later = await self._travelled(asked, deadline)
        # The others are refused, or void as one of the two was erased meanwhile.
        new = joined((taken.new_links, with_pairs(late, later.new_links)))
        refused = joined((taken.refused, later.refused))
        positions = {**taken.positions, **later.positions}
        key = self._routing.cluster.hash_key
        return replace(taken, new_links=earliest(new, key), refused=earliest(refused, key), positions=positions)

    async def _travelled(self, said: Said, deadline: Deadline) -> Taken:
        passenger = _Passenger(said, deadline, asyncio.get_running_loop().create_future())
        if said.may_share:
            self._waiting.append(passenger)
            self._depart()
        else:
            self._board([passenger])
        number, boarding = await passenger.boarded
        # A caller that goes away must not stop the others on its flight.
        flight = await asyncio.shield(boarding)
        return await self._arrived(flight, number, deadline)

    def _depart(self) -> None:
        while self._waiting and self._under_way < FLIGHTS_MAX:
            self._under_way += 1
            self._background.begin("flight", self._make_room_after(self._board(_group(self._waiting))))

    def _board(self, group: Sequence[_Passenger]) -> asyncio.Task[_Flight]:
        boarding = awaited(self._begun(group))
        self._keep(boarding)
        for number, passenger in enumerate(group):
            if not passenger.boarded.done():
                passenger.boarded.set_result((number, boarding))
        return boarding

    async def _begun(self, group: Sequence[_Passenger]) -> _Flight:
        deadline = Deadline(max(passenger.deadline.at for passenger in group))
        said, work = [passenger.said for passenger in group], asyncio.get_running_loop().run_in_executor
        loaded = await work(self._threads, load, said, self._routing.cluster)
        calls = dict[int, asyncio.Task[Delivered]]()
        for claims in self._routing.map.by_shard(sorted(loaded.partitions)).values():
            partitions = [claim.partition for claim in claims]
            call = awaited(self._deliver(loaded, partitions, deadline))
            self._keep(call)
            calls |= dict.fromkeys(partitions, call)
        return _Flight(loaded, calls, deadline)

    async def _deliver(self, loaded: Load, partitions: Sequence[int], deadline: Deadline) -> Delivered:
        def request(claims: Sequence[PartitionClaim]) -> shard_pb2.DeliverRequest:
            batches = [loaded.message(claim.partition, claim.epoch) for claim in claims]
            made = shard_pb2.DeliverRequest(batches=batches)
            if any(batch.seats for batch in batches):
                made.limits.update(self._limits.by_kind)
            return made

        found = await self._routing.gather(DELIVER, request, deadline, partitions)
        await self._move(found.answers, deadline)
        return found

    async def _move(self, answers: Iterable[shard_pb2.DeliverResponse], deadline: Deadline) -> None:
        """Waits for profiles to move before the batch that links them is acked. The batch itself is durable already."""
        if due := {number for answer in answers for number in answer.due}:
            try:
                # Bound the wait: one hung shard must not delay every batch that links identifiers.
                seconds = min(deadline.remaining(), MOVING_SECONDS)
                await self._mover.settle(due, Deadline.after(seconds, MOVING_SECONDS))
            except (RouterError, grpc.aio.AioRpcError) as error:
                _LOG.warning("profiles still wait to be moved: %s", error)

    async def _arrived(self, flight: _Flight, number: int, deadline: Deadline) -> Taken:
        """Result of one batch of a flight; waits for the shards that it concerns."""
        concerned = flight.load.concerned(number)
        calls = dict.fromkeys(flight.calls[partition] for partition in sorted(concerned))
        if calls:
            # The calls end by the flight's deadline, and name the late shard.
            is_last = deadline.at >= flight.deadline.at
            _, late = await asyncio.wait(calls, timeout=None if is_last else deadline.remaining())
            if late:
                raise DeadlineMissed(_LATE)
        found = [call.result() for call in calls]
        failures, missing = dict[int, Failure](), dict[int, list[int]]()
        for each in found:
            for shard, numbers in each.missing.items():
                if absent := [partition for partition in numbers if partition in concerned]:
                    failures[shard] = each.failures[shard]
                    missing[shard] = missing.get(shard, []) + absent
        if failures:
            raise self._routing.error(Answers((), failures, missing))
        outcomes = [outcome for each in found for answer in each.answers for outcome in answer.outcomes]
        own = [outcome for outcome in outcomes if outcome.partition in concerned]
        if sum(len(outcome.errors) + len(outcome.duplicate_records) for outcome in own) <= PIECE_RECORDS:
            return flight.load.taken(number, own)
        work = asyncio.get_running_loop().run_in_executor
        return await work(self._threads, flight.load.taken, number, own)

    async def _make_room_after(self, boarding: asyncio.Task[_Flight]) -> None:
        """Lets the next flight start when one has ended or takes long: a hung shard delays its own callers only."""
        try:
            await asyncio.wait([boarding])
            if boarding.exception() is None and (calls := set(boarding.result().calls.values())):
                await asyncio.wait(calls, timeout=FLIGHT_SECONDS)
        finally:
            self._under_way -= 1
            self._depart()

    def _keep(self, task: asyncio.Task[object]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _group(waiting: list[_Passenger]) -> list[_Passenger]:
    """As many as may travel together, at least the first; they are removed from `waiting`."""
    count, records, size, names, keys = 0, 0, 0, 0, 0
    for each in waiting:
        batch = each.said.batch
        records, size = records + len(batch), size + batch.nbytes
        names, keys = names + len(batch.names), keys + len(batch.keys)
        fits = records <= FLIGHT_RECORDS_MAX and size <= FLIGHT_BYTES_MAX and max(names, keys) <= NAMES_PER_BATCH_MAX
        if count and not fits:
            break
        count += 1
    group = waiting[:count]
    del waiting[:count]
    return group
