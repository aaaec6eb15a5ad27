"""What a process does by itself goes on whatever happens to it, and says so when something does."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import partition_pb2 as pb
from cdp.v1 import shard_pb2

import cdp_router
from cdp_router.background import PAUSE_SECONDS, PAUSE_SECONDS_MAX, Background
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, FORGET_PARTITION, READ_HOLDINGS, TAKE_PARTITION, UnaryMethod
from cdp_router.cluster.topology import ClusterFile
from cdp_router.deadline import Deadline
from cdp_router.erasure.begun_erasures import DOCUMENT as ERASURES
from cdp_router.erasure.erasures import Erasures
from cdp_router.ingest.schema_gate import DOCUMENT as SCHEMA
from cdp_router.ingest.schema_gate import SchemaGate
from cdp_router.observing.observing import Observing
from cdp_router.observing.settings import Settings
from cdp_router.process import gateway, router, shard
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.moves.director import Director
from cdp_router.shard.server import ShardServer
from cdp_store.ids import PartitionId
from cdp_store.shard.retaining import Retaining
from tests.router.local_cluster import CLUSTER, FixedClock, far_deadline, open_store
from tests.router.shard_client_contract import one, view
from tests.virtual_time import VirtualLoop


def run(work: Coroutine[Any, Any, None]) -> None:
    """In virtual time: an hour of pauses takes no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


class Fails:
    """A loop that fails so many times, each after a while, and then goes on for ever."""

    def __init__(self, times: int, after_seconds: float = 0.0) -> None:
        self.begun_at, self._times, self._after = list[float](), times, after_seconds

    async def __call__(self) -> None:
        self.begun_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._after)
        if len(self.begun_at) <= self._times:
            raise KeyError(7)
        await asyncio.Event().wait()

    def pauses(self) -> list[float]:
        """Seconds between the end of one run and the start of the next."""
        starts = self.begun_at
        return [round(later - earlier - self._after, 3) for earlier, later in zip(starts, starts[1:], strict=False)]


def test_a_loop_that_fails_is_begun_again_after_longer_and_longer_pauses(caplog: pytest.LogCaptureFixture) -> None:
    failures, loop = Counter[str](), Fails(9)

    async def test() -> None:
        background = Background(lambda name: failures.update([name]))
        background.keep("looking", loop)
        await asyncio.sleep(3600)
        await background.close()

    run(test())
    doubled = [PAUSE_SECONDS * 2**n for n in range(9)]
    assert loop.pauses() == [min(each, PAUSE_SECONDS_MAX) for each in doubled]
    assert failures == {"looking": 9}
    assert [record.message for record in caplog.records] == ["looking failed: KeyError: 7"] * 9
    assert all(record.exc_info is not None for record in caplog.records), "with where it happened"


def test_a_loop_that_ran_for_long_is_taken_for_sound(caplog: pytest.LogCaptureFixture) -> None:
    loop = Fails(4, PAUSE_SECONDS_MAX + 1)

    async def test() -> None:
        background = Background()
        background.keep("looking", loop)
        await asyncio.sleep(3600)
        await background.close()

    run(test())
    assert loop.pauses() == [PAUSE_SECONDS] * 4


def test_a_loop_that_returns_is_done_and_close_ends_the_others() -> None:
    ended, begun = list[str](), Counter[str]()

    async def once() -> None:
        begun["once"] += 1

    async def for_ever() -> None:
        begun["for ever"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("for ever")

    async def test() -> None:
        background = Background()
        background.keep("once", once)
        background.keep("for ever", for_ever)
        await asyncio.sleep(600)
        assert not ended
        await background.close()

    run(test())
    assert (begun, ended) == ({"once": 1, "for ever": 1}, ["for ever"])


def test_work_that_nobody_waits_for_tells_of_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    failures, told = Counter[str](), list[BaseException]()

    async def fails() -> None:
        raise MemoryError

    async def test() -> None:
        background = Background(lambda name: failures.update([name]))
        background.begin("tidying", fails(), told.append)
        cancelled = background.begin("waiting", asyncio.sleep(60), told.append)
        await asyncio.sleep(1)
        cancelled.cancel()
        await background.close()

    run(test())
    assert failures == {"tidying": 1} and [type(each) for each in told] == [MemoryError]
    assert [record.message for record in caplog.records] == ["tidying failed: MemoryError: "]


def test_tasks_are_made_in_one_place_only() -> None:
    """The client is left out: it runs in its callers' processes, and its writer's end takes what the task raises."""
    package, makers = Path(cdp_router.__file__).parent, {"create_task", "ensure_future", "TaskGroup", "Thread"}
    found = set[str]()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in makers:
                found.add(path.relative_to(package).as_posix())
    assert {each for each in found if not each.startswith("client/")} == {"background.py"}


def test_failures_are_among_the_metrics_of_every_process() -> None:
    observing = Observing("shard-0", Settings.from_environment(), None)
    observing.background.failed("maintenance")
    assert observing._registry.get_sample_value("cdp_background_failures_total", {"task": "maintenance"}) == 1
    for process in (shard, router, gateway):
        assert "Background(" in Path(str(process.__file__)).read_text(), "it has one"


class _Moves:
    """Shards that say what they hold; one leaves while others are asked."""

    def __init__(self, routing: Callable[[], Routing], held: list[pb.PartitionHolding], leaves: int | None) -> None:
        self._routing, self._held, self._leaves = routing, held, leaves
        self.address = "somewhere"
        self.forgotten, self.taken = list[int](), list[int]()

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method is FORGET_PARTITION:
            self.forgotten.append(request.partition)
            return pb.ForgetPartitionResponse()
        if method is TAKE_PARTITION:
            self.taken.append(request.partition)
            return pb.TakePartitionResponse()
        assert method is READ_HOLDINGS
        if self._leaves is not None:
            shards = self._routing().shards
            self._routing().shards = {number: each for number, each in shards.items() if number != self._leaves}
        return pb.ReadHoldingsResponse(holdings=self._held)


def _holding(partition: int, state: pb.HoldingState.ValueType, shard: int) -> pb.PartitionHolding:
    return pb.PartitionHolding(partition=partition, epoch=2, state=state, shard=shard)


@pytest.mark.parametrize("leaves", [0, 1, 2, None])
def test_a_shard_that_leaves_while_moves_are_looked_after_holds_up_no_other_move(leaves: int | None) -> None:
    released, owned, incoming = pb.HOLDING_STATE_RELEASED, pb.HOLDING_STATE_OWNED, pb.HOLDING_STATE_INCOMING
    held = {
        0: [_holding(0, released, 2)],  # 2 has it, and 0 does not know that
        1: [_holding(1, released, 2), _holding(3, incoming, 2)],  # so with 1; and a move that stands still
        2: [_holding(0, owned, 0), _holding(1, owned, 0), _holding(2, incoming, 1)],
    }
    moves = {number: _Moves(lambda: routing, each, leaves if number == 2 else None) for number, each in held.items()}
    routing = Routing(CLUSTER, moves)  # type: ignore[arg-type]

    async def test() -> None:
        await Director(routing).resume()

    run(test())
    staying = {0, 1, 2} - {leaves}
    assert {number: each.forgotten for number, each in moves.items() if each.forgotten} == {
        number: [number] for number in (0, 1) if number in staying
    }
    takers = {2: [2]} if {1, 2} <= staying else {}
    takers |= {1: [3]} if {1, 2} <= staying else {}
    assert {number: each.taken for number, each in moves.items() if each.taken} == takers


def test_the_director_asks_a_shard_that_left_for_nothing() -> None:
    moves = _Moves(lambda: routing, [_holding(0, pb.HOLDING_STATE_INCOMING, 1)], leaves=0)
    routing = Routing(CLUSTER, {0: moves})  # type: ignore[dict-item]

    async def test() -> None:
        with pytest.raises(cdp_router.errors.MoveRefused, match="shard 0 is no longer known here"):
            await Director(routing).stop(0)

    run(test())


def _shared(folder: Path, test: Callable[[ShardServer, Routing], Coroutine[Any, Any, None]]) -> None:
    """A router and the shard that keeps the documents of its cluster."""
    alone = ClusterFile(CLUSTER.cluster, CLUSTER.partitions, 1, CLUSTER.key)

    async def whole() -> None:
        server = ShardServer(open_store(folder, 0, cluster=alone), lambda error: None)
        clients: dict[int, ShardClient] = {0: LocalShardClient(server)}
        await test(server, Routing(alone, clients))
        await server.close()

    run(whole())


async def _write(server: ShardServer, name: str, version: int, content: bytes) -> None:
    request = shard_pb2.WriteDocumentRequest(
        cluster=CLUSTER.cluster, partition=0, name=name, expected_version=version, content=content, epoch=1
    )
    assert (await server.documents.write(request)).written


def test_rules_and_erasures_of_a_newer_router_stop_no_loop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They cannot be read here. Once they can again, they hold."""

    async def test(server: ShardServer, routing: Routing) -> None:
        gate, erasures, background = SchemaGate(routing, lambda _: None), Erasures(routing, FixedClock()), Background()
        await _write(server, SCHEMA, 0, b"\xff\xff newer")
        await _write(server, ERASURES, 0, b'{"format": 99}')
        background.keep("schema", gate.keep_known)
        background.keep("erasures", erasures.keep_finished)
        await asyncio.sleep(600)
        await _write(server, SCHEMA, 1, b"")
        await _write(server, ERASURES, 1, b'{"format": 1}')
        await asyncio.sleep(600)
        assert gate._is_known and erasures._begun._version == 2
        await background.close()

    _shared(tmp_path, test)
    assert not [record for record in caplog.records if "failed" in record.message], "they go on by themselves"
    assert len([record for record in caplog.records if "schema" in record.message]) == 1


def test_snapshots_are_taken_again_after_any_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is none of the store's errors used to end them for good, and the log grew."""

    async def whole() -> None:
        failures = Counter[str]()
        background = Background(lambda name: failures.update([name]))
        server = ShardServer(open_store(tmp_path, 0), lambda error: None, clock=FixedClock(), background=background)
        await LocalShardClient(server).call(DELIVER, one([view("a", message_id="m1")]), far_deadline())
        real = server._store.snapshot

        def fails(now_ms: int) -> Any:
            monkeypatch.setattr(server._store, "snapshot", real)
            raise MemoryError

        monkeypatch.setattr(server._store, "snapshot", fails)
        background.keep("snapshots", partial(server.snapshots.take_every, 30.0))
        await asyncio.sleep(100)
        assert failures == {"snapshots": 1}
        assert server._store.newest_snapshot is not None
        await server.close()

    run(whole())


def test_maintenance_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def whole() -> None:
        failures = Counter[str]()
        background = Background(lambda name: failures.update([name]))
        server = ShardServer(open_store(tmp_path, 0), lambda error: None, clock=FixedClock(), background=background)
        runs, real = Counter[str](), server._store.maintain

        def fails() -> bool:
            runs["maintain"] += 1
            if runs["maintain"] < 4:
                raise MemoryError
            return real()

        monkeypatch.setattr(server._store, "maintain", fails)
        client = LocalShardClient(server)
        for number in range(20):  # it rests between two tries, however much arrives
            await client.call(DELIVER, one([view("a", message_id=f"m{number}")]), far_deadline())
        assert runs["maintain"] == 1
        await asyncio.sleep(10)
        assert failures == {"maintenance": 3} and runs["maintain"] >= 4
        await server.close()

    run(whole())


def test_retention_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        runs = list[float]()
        server = ShardServer(open_store(tmp_path, 0), lambda error: None, clock=FixedClock())

        def fails(retaining: Retaining, now_ms: int) -> bool:
            runs.append(asyncio.get_running_loop().time())
            if len(runs) == 1:
                raise MemoryError
            return False

        monkeypatch.setattr(Retaining, "retain", fails)
        server.upkeep.retain_hourly()
        await asyncio.sleep(3 * 3600)
        await server.close()
        assert runs == [0.0, PAUSE_SECONDS, 3600 + PAUSE_SECONDS, 7200 + PAUSE_SECONDS]

    run(whole())


def test_a_move_that_ends_by_a_defect_says_so_and_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = dict[int, ShardServer]()

    async def whole() -> None:
        for number in (0, 1):
            store = open_store(tmp_path / str(number), number)
            connect = lambda where: LocalShardClient(servers[int(where)])  # noqa: E731
            servers[number] = ShardServer(store, lambda error: None, clock=FixedClock(), connect=connect)
        taker = servers[1].moves.taker
        request = pb.TakePartitionRequest(cluster=CLUSTER.cluster, partition=0, epoch=2, from_shard=0, from_address="0")
        with monkeypatch.context() as patched:
            patched.setattr(taker._taking, "adopt", lambda *_: {}[7])
            await taker.take_partition(request)
            await asyncio.gather(taker._under_way[PartitionId(0)].task, return_exceptions=True)
            assert taker.describe(PartitionId(0)).progress.problem == "KeyError: 7"
        await taker.take_partition(request)
        await taker._under_way[PartitionId(0)].task
        assert taker.describe(PartitionId(0)).state == pb.HOLDING_STATE_OWNED
        for server in servers.values():
            await server.close()

    run(whole())


def test_senders_do_not_wait_for_ever_when_what_follows_a_commit_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def whole() -> None:
        server = ShardServer(open_store(tmp_path, 0), lambda error: None, clock=FixedClock())
        server.commits._on_committed = lambda: {}[7]
        client = LocalShardClient(server)
        sent = [
            asyncio.ensure_future(client.call(DELIVER, one([view("a", message_id=f"m{n}")]), far_deadline()))
            for n in range(3)
        ]
        async with asyncio.timeout(60):
            outcomes = [(await each).outcomes[0].accepted for each in sent]
        assert outcomes == [1, 1, 1]
        server.upkeep.stop()
        await server.close()

    run(whole())
    assert {record.message for record in caplog.records if record.levelno >= logging.ERROR} == {
        "commit failed: KeyError: 7"
    }
