"""Seeded lives of a whole cluster in this process; `python -m tests.cluster_simulation --seconds 600` tells what fails.

Shards, two routers and clients run on virtual time over a network that delays, drops, repeats and reorders messages.
Partitions move, shards are killed and lose what they had not synced, people are erased and devices become somebody's
(`simulated_people`). In the end the history is checked: no acknowledged record is lost or doubled, and every answer was
the oracle's at its sequence numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
from cdp.v1 import ingest_pb2, query_pb2

from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import UnaryMethod
from cdp_router.contract.status import TRANSLATED, describe, grpc_code
from cdp_router.deadline import Deadline
from cdp_router.errors import RouterError
from cdp_router.ingest.ingest import Ingest
from cdp_router.questions.queries import Queries
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.moves.director import Director
from cdp_router.shard.server import ShardServer
from cdp_store.directory.holdings import HoldingState
from cdp_store.errors import StoreError
from cdp_store.ids import encode_identifier
from cdp_store.outside.faulty_files import FaultyFiles
from cdp_store.records.records import Strings
from tests.router.encodings import Sent, protobuf_batch
from tests.router.fake_shards import call_error
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock, far_deadline, open_store
from tests.simulated_people import LIMITS, People
from tests.virtual_time import Inline, VirtualLoop

SHARDS, ROUTERS, USERS = 3, 2, 23
_FAILURES = (RouterError, StoreError, grpc.aio.AioRpcError)


@dataclass(slots=True)
class Batch:
    """A client's records, sent until they are acknowledged, and the positions in partitions' logs that the ack names.

    They stand there after one attempt. After several they stand there or earlier: an attempt without an answer may have
    been logged, and the ack of a repeat names a later position.
    """

    number: int
    records: list[Sent]
    positions: dict[int, int] = field(default_factory=dict)
    attempts: int = 0
    is_acked: bool = False


class Link:
    """The way to one shard, and back."""

    def __init__(self, network: Network, number: int) -> None:
        self._network, self._number = network, number
        self.address = str(number)

    async def close(self) -> None:
        """Nothing is open."""

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        def work(server: ShardServer) -> Awaitable[Any]:
            return LocalShardClient(server, self.address).call(method, request, deadline)

        return await self._network.carry(self._number, work)


class Network:
    """Carries calls to shards, badly, until it is healed."""

    def __init__(self, chance: Random) -> None:
        self.chance, self.is_bad = chance, True
        self.servers = dict[int, ShardServer]()
        self.calls = dict[int, set[asyncio.Task[Any]]]()

    def link(self, number: int) -> Link:
        return Link(self, number)

    async def carry(self, number: int, work: Callable[[ShardServer], Awaitable[Any]]) -> Any:
        await self._travel()
        if self._happens(0.05):
            raise call_error(grpc.StatusCode.UNAVAILABLE, "the request was lost")
        if self._happens(0.05):
            self._begin(number, self._late(number, work))
        result = await self._done(number, work)
        await self._travel()
        if self._happens(0.05):
            raise call_error(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return result

    async def _late(self, number: int, work: Callable[[ShardServer], Awaitable[Any]]) -> None:
        """The same request once more, later than others that were sent behind it."""
        await asyncio.sleep(self.chance.random() * 2)
        with suppress(*_FAILURES):
            await self._done(number, work)

    async def _done(self, number: int, work: Callable[[ShardServer], Awaitable[Any]]) -> Any:
        server = self.servers.get(number)
        if server is None:
            raise call_error(grpc.StatusCode.UNAVAILABLE, "the shard is away")
        task = self._begin(number, work(server))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise call_error(grpc.StatusCode.UNAVAILABLE, "the shard was killed") from None
            raise
        except TRANSLATED as error:
            assert isinstance(error, Exception)
            if isinstance(error, grpc.aio.AioRpcError):
                raise
            raise call_error(grpc_code(describe(error)), str(error), cause=error) from error

    def _begin(self, number: int, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        running = self.calls.setdefault(number, set())
        running.add(task)
        task.add_done_callback(lambda done: (running.discard(done), done.cancelled() or done.exception()))
        return task

    async def _travel(self) -> None:
        await asyncio.sleep(self.chance.expovariate(200.0) if self.is_bad else 0.001)

    def _happens(self, probability: float) -> bool:
        return self.is_bad and self.chance.random() < probability


class Life:
    """One cluster from its birth to the check of its history."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, Random(seed)
        self.network = Network(self.chance)
        self.files = {number: FaultyFiles() for number in range(SHARDS)}
        self.routings = [Routing(CLUSTER, self._links()) for _ in range(ROUTERS)]
        clock = FixedClock()
        self.ingests = [Ingest(routing, clock, Inline(), limits=LIMITS) for routing in self.routings]
        self.queries = [Queries(routing, clock) for routing in self.routings]
        self.directors = [Director(routing) for routing in self.routings]
        self.people = People(self.chance, self.routings, self.ingests, self.queries)
        self.batches = list[Batch]()
        self.answers = list[tuple[int, query_pb2.QueryResponse]]()
        self.counts = Counter[str]()
        names = [f"u{n}" for n in range(USERS)]
        encoded = Strings.of([encode_identifier("user_id", name) for name in names])
        homes = partitions_of(encoded, CLUSTER.hash_key, CLUSTER.partitions)
        self.homes = dict(zip(names, homes.tolist(), strict=True))

    def _links(self) -> dict[int, Any]:
        return {number: self.network.link(number) for number in range(SHARDS)}

    async def live(self) -> None:
        """Everything at once; then the network heals, and the history must hold."""
        for number in range(SHARDS):
            self._start(number)
        clients = [self._client(n) for n in range(3)]
        others = [asyncio.create_task(work()) for work in (self._asker, self._mover, self._killer, self.people.watch)]
        await asyncio.gather(*clients, *self.people.clients())
        for other in others:
            other.cancel()
        for ended in await asyncio.gather(*others, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise AssertionError("what should go on for ever has ended") from ended
        await self._heal()
        for number in range(SHARDS):  # what is checked is what recovers
            await self._kill(number)
            self._start(number)
        await self._check()
        await self.people.check()
        self.counts.update(self.people.counts)
        for server in self.network.servers.values():
            await server.close()

    def _start(self, number: int) -> None:
        store = open_store(self.folder / f"shard-{number}", number, self.files[number])
        server = ShardServer(
            store, lambda error: None, clock=FixedClock(), connect=lambda where: self.network.link(int(where))
        )
        server._workers._threads = Inline()  # type: ignore[assignment]
        self.network.servers[number] = server

    async def _kill(self, number: int) -> None:
        """At whatever it waits for just now; what it had not synced is lost, or not."""
        server = self.network.servers.pop(number)
        server.upkeep.stop()
        own = [server.commits._committing, server.upkeep._maintaining]
        own += [each.task for each in server.moves.taker._under_way.values()]
        doomed = [task for task in (*self.network.calls.get(number, ()), *own) if task is not None and not task.done()]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        server._store.close()
        self.files[number].crash(self.chance)
        self.counts["kills"] += 1

    async def _client(self, client: int) -> None:
        for turn in range(8):
            number = client * 100 + turn
            first = number * 10
            records = [
                Sent("Step", f"u{self.chance.randrange(USERS)}", NOW_MS - n, {"n": n}, message_id=f"m{n}")
                for n in range(first, first + self.chance.randint(1, 9))
            ]
            batch = Batch(number, records)
            self.batches.append(batch)
            while not batch.is_acked:
                await self._send(batch)
            if self.chance.random() < 0.3:  # under another id only its messages tell that it is known
                await self._send_again(batch)
            await asyncio.sleep(self.chance.random())

    async def _send(self, batch: Batch) -> None:
        batch.attempts += 1
        with suppress(*_FAILURES):
            result = await self._take(protobuf_batch(batch.records, b"b%d" % batch.number))
            assert result.accepted + result.duplicates == len(batch.records), result
            batch.positions = {each.partition: each.sequence for each in result.positions}
            batch.is_acked = True

    async def _send_again(self, batch: Batch) -> None:
        with suppress(*_FAILURES):
            result = await self._take(protobuf_batch(batch.records, b"again %d" % batch.number))
            assert (result.accepted, result.duplicates) == (0, len(batch.records)), f"batch {batch.number} taken twice"

    async def _take(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        return await self.chance.choice(self.ingests).ingest(batch, Deadline.after(5.0, 5.0))

    async def _asker(self) -> None:
        while True:
            await self._ask(self.chance.randint(1, 4))
            await asyncio.sleep(self.chance.random() / 4)

    async def _ask(self, least: int) -> None:
        request = query_pb2.QueryRequest(text=f'count("Step") >= {least}')
        with suppress(*_FAILURES):
            answer = await self.chance.choice(self.queries).query(request, Deadline.after(5.0, 5.0), 0.0)
            self.answers.append((least, answer))

    async def _mover(self) -> None:
        while True:
            director = self.chance.choice(self.directors)
            what, partition = self.chance.random(), self.chance.randrange(CLUSTER.partitions)
            with suppress(*_FAILURES):
                if what < 0.5:
                    await director.move(partition, self.chance.randrange(SHARDS))
                elif what < 0.9:
                    await director.resume()
                else:
                    await director.stop(partition)
            await asyncio.sleep(self.chance.random() / 2)

    async def _killer(self) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(0.7))
            number = self.chance.randrange(SHARDS)
            if number in self.network.servers:
                await self._kill(number)
                await asyncio.sleep(self.chance.random())
                self._start(number)

    async def _heal(self) -> None:
        """Shards are all there, messages arrive, and what is under way comes to its end."""
        self.network.is_bad = False
        for number in range(SHARDS):
            if number not in self.network.servers:
                self._start(number)
        for _ in range(100):
            with suppress(*_FAILURES):
                await self.directors[0].resume()
                found = await self.directors[0].look()
                if not found.moves() and not found.unconfirmed():
                    return
            await asyncio.sleep(1.0)
        raise AssertionError("a move never comes to its end")

    async def _check(self) -> None:
        owners = Counter(
            number for server in self.network.servers.values() for number in server._store.holdings.owned()
        )
        assert owners == Counter(dict.fromkeys(range(CLUSTER.partitions), 1)), owners
        epochs = (
            held.epoch for server in self.network.servers.values() for held in server._store.holdings.all().values()
        )
        self.counts["handovers"] = max(epochs) - 1
        for server in self.network.servers.values():
            assert not [held for held in server._store.holdings.all().values() if held.state is HoldingState.RELEASED]
            for partition in server._store.partitions.values():
                partition.validate()
        for least in range(1, 5):
            asked = len(self.answers)
            for queries in self.queries:
                request = query_pb2.QueryRequest(text=f'count("Step") >= {least}')
                self.answers.append((least, await queries.query(request, far_deadline(), 0.0)))
            assert all(answer.count == self._expected(least, None) for _, answer in self.answers[asked:])
        for least, answer in self.answers:
            covered = {each.partition: each.sequence for each in answer.coverage.answered}
            assert sorted(covered) == list(range(CLUSTER.partitions))
            bounds = self._expected(least, covered), self._expected(least, covered, repeats=True)
            assert bounds[0] <= answer.count <= bounds[1], (least, covered, answer.count, bounds)
        self.counts["answers"] = len(self.answers)

    def _expected(self, least: int, covered: dict[int, int] | None, *, repeats: bool = False) -> int:
        """The oracle: users with so many records, of those that stand up to these sequence numbers.

        `repeats` also counts all records of batches that took several attempts.
        """
        found = Counter[str]()
        for batch in self.batches:
            for record in batch.records:
                home = self.homes[record.user_id]
                is_repeat = repeats and batch.attempts > 1
                if covered is None or is_repeat or batch.positions[home] <= covered[home]:
                    found[record.user_id] += 1
        return sum(count >= least for count in found.values())


def run(seed: int, root: Path) -> Counter[str]:
    """One life; AssertionError or another error when a promise is broken."""
    folder = root / str(seed)
    folder.mkdir()
    life = Life(folder, seed)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(life.live())
    finally:
        shutil.rmtree(folder)
    return life.counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run lives for a time, or one seed."""
    parser = argparse.ArgumentParser(description="Lives of a cluster with a bad network.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="run this one only")
    given = parser.parse_args(arguments)
    first = int(time.time()) * 1000 if given.seed is None else given.seed
    started, done, failed, counts = time.monotonic(), 0, list[int](), Counter[str]()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        for seed in range(first, first + (1 if given.seed is not None else 1 << 40)):
            try:
                counts.update(run(seed, Path(root)))
            except Exception:  # noqa: BLE001 - whatever it is, it is told with its seed
                failed.append(seed)
                print(f"seed {seed} failed:\n{traceback.format_exc()}")
            done += 1
            if time.monotonic() - started > given.seconds:
                break
    print(f"{done} lives from seed {first} on, with {dict(counts)}; {len(failed)} failed {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
