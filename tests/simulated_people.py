"""People of the simulated cluster who ask to be forgotten, and devices that turn out to be somebody's.

What they do is checked by time: an answer counts at least what was acknowledged before it was asked for, and at most
what was begun before it came. When all is over, the counts are exact.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import grpc
from cdp.v1 import admin_pb2, ingest_pb2, query_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.deadline import Deadline
from cdp_router.erasure.erasures import Erasures
from cdp_router.errors import RouterError
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.identity.transfers import Mover
from cdp_router.ingest.ingest import Ingest
from cdp_router.questions.queries import Queries
from cdp_store.errors import StoreError
from cdp_store.identity.seats import OTHERS
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS, FixedClock, far_deadline

LEAVING, DEVICES, PERSONS = 5, 4, 2
LIMITS = IdentifierLimits({OTHERS: DEVICES // PERSONS})
_FAILURES = (RouterError, StoreError, grpc.aio.AioRpcError)


@dataclass(slots=True)
class Known:
    """How far something has come: begun, and acknowledged."""

    begun: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)


class People:
    """Their side of one life, through any of the routers."""

    def __init__(
        self, chance: Random, routings: Sequence[Routing], ingests: Sequence[Ingest], queries: Sequence[Queries]
    ):
        self._chance, self._ingests, self._queries = chance, ingests, queries
        self._erasures = [Erasures(routing, FixedClock()) for routing in routings]
        self._movers = [Mover(routing) for routing in routings]
        self.came, self.left = Known(), Known()
        self.suppressed = set[str]()
        self.looks = Counter[str]()  # by person, once all is settled
        self.counts = Counter[str]()

    def clients(self) -> list[Awaitable[None]]:
        """Everybody, at once."""
        leaving = [self._come_and_leave(f"leaving{n}") for n in range(LEAVING)]
        return [*leaving, *(self._look(f"device{n}", f"person{n % PERSONS}") for n in range(DEVICES))]

    async def watch(self) -> None:
        """Ask who is there until cancelled; no answer may say what cannot be."""
        while True:
            with suppress(*_FAILURES):
                await self._watch_once()
            await asyncio.sleep(self._chance.random() / 2)

    async def check(self) -> None:
        """Settle what is under way: then those who left are gone, and devices are their persons."""
        for mover in self._movers:
            await mover.settle_all(far_deadline())
        for erasures in self._erasures:
            await erasures.finish(far_deadline())
        await self._watch_once()
        staying = self.came.done - self.left.done
        for queries in self._queries:
            assert await self._count(queries, 'did("Here")') == len(staying)
            for least in range(1, max(self.looks.values()) + 2):
                expected = sum(count >= least for count in self.looks.values())
                assert await self._count(queries, f'count("Look") >= {least}') == expected, (least, self.looks)
        for name in sorted(self.left.done):
            result = await self._take([Sent("Here", name, NOW_MS, {}, message_id=f"late {name}")])
            assert bool(result.errors) == (name in self.suppressed), (name, result)
        self.counts["erased"], self.counts["linked"] = len(self.left.done), DEVICES

    async def _come_and_leave(self, name: str) -> None:
        await self._pause()
        self.came.begun.add(name)
        records = [Sent("Here", name, NOW_MS - n, {"n": n}, message_id=f"{name}-{n}") for n in range(3)]
        await self._until_it_works(lambda: self._send(records))
        self.came.done.add(name)
        await self._pause()
        if self._chance.random() < 0.8:
            request = admin_pb2.EraseProfileRequest(user_id=name, suppress=self._chance.random() < 0.5)
            self.left.begun.add(name)
            erasures = self._chance.choice(self._erasures)
            await self._until_it_works(lambda: erasures.erase(request, Deadline.after(5.0, 5.0)))
            self.left.done.add(name)
            self.suppressed |= {name} if request.suppress else set()

    async def _look(self, device: str, person: str) -> None:
        """Records of a device, which somewhere among them turns out to be a person's."""
        known_from = self._chance.randrange(4)
        for turn in range(4):
            records = [
                Sent("Look", "", NOW_MS - n, {"n": n}, anonymous_id=device, message_id=f"{device}-{turn}-{n}")
                for n in range(self._chance.randint(1, 3))
            ]
            if turn == known_from:
                both = Sent("Look", person, NOW_MS, {}, anonymous_id=device, message_id=f"{device} is {person}")
                records.append(both)
            self.looks[person] += len(records)
            await self._until_it_works(lambda records=records: self._send(records))  # type: ignore[misc]
            await self._pause()

    async def _send(self, records: Sequence[Sent]) -> None:
        result = await self._take(records)
        assert result.accepted + result.duplicates == len(records), result
        assert not result.warnings, "as many devices as there are may be linked, and none takes two seats"

    async def _take(self, records: Sequence[Sent]) -> ingest_pb2.BatchResult:
        return await self._chance.choice(self._ingests).ingest(protobuf_batch(records), Deadline.after(5.0, 5.0))

    async def _watch_once(self) -> None:
        came, left = set(self.came.done), set(self.left.done)
        count = await self._count(self._chance.choice(self._queries), 'did("Here")')
        least, most = came - self.left.begun, self.came.begun - left
        assert len(least) <= count <= len(most), (count, least, most)
        self.counts["watched"] += 1

    async def _count(self, queries: Queries, text: str) -> int:
        answer = await queries.query(query_pb2.QueryRequest(text=text), Deadline.after(5.0, 5.0), 0.0)
        return answer.count

    async def _until_it_works(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except _FAILURES:
                await self._pause()
            else:
                return

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.random())
