"""Partitions move between shards in this process: contents, memory of what was seen, rules and answers go along."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from cdp.v1 import admin_pb2, query_pb2, shard_pb2
from cdp.v1 import partition_pb2 as pb

from cdp_query.language import parse
from cdp_query.pipeline import segment_of
from cdp_router.cluster.placement import placement_in
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.erasure.retention import set_retention
from cdp_router.errors import MoveRefused, RequestInvalid, ShardUnavailable, WrongEpoch
from cdp_router.ingest.ingest import Ingest
from cdp_router.questions.queries import Queries
from cdp_router.questions.shared_segments import SharedSegments
from cdp_router.restore.cluster_restore import Wanted, restore
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.moves.director import Director
from cdp_router.shard.server import ShardServer
from cdp_store.directory.holdings import HoldingState
from cdp_store.identity.identity_changes import Links
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.log.controls import Suppression
from cdp_store.memory.digest import Digest, digest
from cdp_store.partition.quarantine import Quarantined
from cdp_store.partition.suppressions import fingerprints
from cdp_store.records.records import Strings, encode_batch
from tests.raw_records import Event, user
from tests.router.encodings import DAY_MS, Sent, protobuf_batch
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock, far_deadline, members_of, open_store
from tests.shards import batch_of

Result = TypeVar("Result")
PEOPLE = 40


class Cluster:
    """Three shards, the third of which is dealt nothing, and a router."""

    def __init__(self, folder: Path, runner: asyncio.Runner, threads: ThreadPoolExecutor) -> None:
        self.folder, self.runner = folder, runner
        self.servers = dict[int, ShardServer]()
        for number in range(3):
            self.start(number)
        clients: dict[int, ShardClient] = {number: _Client(self, number) for number in range(3)}  # type: ignore[misc]
        self.routing = Routing(CLUSTER, clients)
        self.clock = FixedClock()
        self.taking = Ingest(self.routing, self.clock, threads)
        self.asking = Queries(self.routing, self.clock)

    def start(self, number: int) -> None:
        """Start a shard, from what its directory holds."""
        store = open_store(self.folder / f"shard-{number}", number)
        self.servers[number] = ShardServer(
            store,
            lambda error: None,
            clock=FixedClock(),
            connect=lambda where: LocalShardClient(self.servers[int(where)]),
        )

    def restart(self, number: int) -> None:
        self.run(self.servers[number].close())
        self.start(number)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def take(self, partition: int, source: int, target: int, epoch: int = 2) -> pb.PartitionHolding:
        """Ask the target to take a partition over."""
        request = pb.TakePartitionRequest(
            cluster=CLUSTER.cluster, partition=partition, epoch=epoch, from_shard=source, from_address=str(source)
        )
        return self.run(self.servers[target].moves.taker.take_partition(request)).holding

    def settle(self, target: int) -> None:
        """Wait for what the target is taking over."""

        async def wait() -> None:
            tasks = [each.task for each in self.servers[target].moves.taker._under_way.values() if each.task]
            await asyncio.gather(*tasks)

        self.run(wait())

    def move(self, partition: int, source: int, target: int, epoch: int = 2) -> None:
        self.take(partition, source, target, epoch)
        self.settle(target)
        assert self.state(target, partition) == (HoldingState.OWNED, epoch), self.problem(target, partition)

    def problem(self, shard: int, partition: int) -> str:
        return self.servers[shard].moves.taker.describe(PartitionId(partition)).progress.problem

    def state(self, shard: int, partition: int) -> tuple[HoldingState, int] | None:
        held = self.servers[shard]._store.holdings.get(PartitionId(partition))
        return None if held is None else (held.state, held.epoch)

    def ingest(self, *records: Sent, batch_id: bytes = b"") -> tuple[int, int]:
        result = self.run(self.taking.ingest(protobuf_batch(records, batch_id), far_deadline()))
        return result.accepted, result.duplicates

    def count(self, text: str) -> int:
        found = self.run(self.asking.query(query_pb2.QueryRequest(text=text), far_deadline(), 0.0))
        assert [each.partition for each in found.coverage.answered] == [0, 1, 2, 3]
        return found.count

    def members(self, text: str) -> list[str]:
        async def collect() -> list[query_pb2.MembersResponse]:
            request = query_pb2.MembersRequest(text=text)
            encoded = self.asking.members(request, far_deadline())
            return [query_pb2.MembersResponse.FromString(b"".join(each)) async for each in encoded]

        return [name for _, name in members_of(self.run(collect()))[0]]

    def digest(self, shard: int, partition: int) -> str:
        return str(digest(self.servers[shard]._store.partitions[PartitionId(partition)].capture()))

    def validate(self) -> None:
        for server in self.servers.values():
            for partition in server._store.partitions.values():
                partition.validate()


class _Client:
    """The client of whatever server runs under a number now."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self._cluster, self._number, self.address = cluster, number, str(number)

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalShardClient(self._cluster.servers[self._number], self.address), name)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as threads:
        found = Cluster(tmp_path, runner, threads)
        yield found
        found.validate()
        for server in found.servers.values():
            runner.run(server.close())


def _people(name: str = "View", day: int = 0) -> list[Sent]:
    return [
        Sent(name, f"u{n}", NOW_MS - day * DAY_MS, {"page": f"p{n % 7}", "n": n}, message_id=f"{name}-{day}-{n}")
        for n in range(PEOPLE)
    ]


def test_a_moved_partition_is_the_same_and_is_answered_for_by_its_taker(cluster: Cluster) -> None:
    cluster.ingest(*_people(), *(Sent(None, f"u{n}", NOW_MS, {"plan": "gold"}) for n in range(PEOPLE)))
    before, members = cluster.digest(0, 2), cluster.members('did("View", page = "p3")')
    cluster.move(2, 0, 2)
    assert cluster.digest(2, 2) == before
    assert cluster.state(0, 2) == (HoldingState.GONE, 2)
    assert PartitionId(2) not in cluster.servers[0]._store.partitions
    assert cluster.count('did("View") and plan = "gold"') == PEOPLE
    assert cluster.members('did("View", page = "p3")') == members
    for number in range(3):
        cluster.restart(number)
    assert cluster.digest(2, 2) == before
    assert cluster.count("everyone") == PEOPLE


def test_what_was_taken_once_is_not_taken_again_after_a_move(cluster: Cluster) -> None:
    assert cluster.ingest(*_people(), batch_id=b"b1") == (PEOPLE, 0)
    cluster.move(2, 0, 1)
    assert cluster.ingest(*_people(), batch_id=b"b1") == (0, PEOPLE)
    assert cluster.ingest(*_people()) == (0, PEOPLE)
    cluster.restart(1)
    assert cluster.ingest(*_people(), batch_id=b"b1") == (0, PEOPLE)
    assert cluster.ingest(*_people()) == (0, PEOPLE)
    assert cluster.count('count("View") = 1') == PEOPLE


def test_what_comes_while_a_partition_is_copied_comes_along(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    giving = cluster.servers[0].moves.giver._giving
    export, sent = giving.export, list[tuple[int, int]]()

    def slow_export(*arguments: Any) -> Any:
        done = export(*arguments)
        loop = cluster.runner.get_loop()
        late = asyncio.run_coroutine_threadsafe(
            cluster.taking.ingest(protobuf_batch(_people("Late"), b"late"), far_deadline()), loop
        ).result()
        sent.append((late.accepted, late.duplicates))
        return done

    giving.export = slow_export  # type: ignore[method-assign]
    cluster.move(2, 0, 2)
    assert sent == [(PEOPLE, 0)]
    assert cluster.count('count("Late") = 1 and count("View") = 1') == PEOPLE
    cluster.restart(2)
    assert cluster.count('count("Late") = 1 and count("View") = 1') == PEOPLE
    assert cluster.ingest(*_people("Late"), batch_id=b"late") == (0, PEOPLE)


def test_what_comes_right_before_the_release_comes_along(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    giver = cluster.servers[0].moves.giver
    release = giver.release

    async def after_more(request: pb.ReleasePartitionRequest) -> pb.ReleasePartitionResponse:
        await cluster.taking.ingest(protobuf_batch(_people("Late"), b"late"), far_deadline())
        return await release(request)

    giver.release = after_more  # type: ignore[method-assign]
    cluster.move(2, 0, 2)
    cluster.restart(2)
    assert cluster.count('count("Late") = 1 and count("View") = 1') == PEOPLE


def test_a_batch_that_waits_while_its_partition_is_released_is_refused(cluster: Cluster) -> None:
    """It was let in under the right epoch, but its turn to be logged comes too late."""
    cluster.ingest(*_people())
    sequence = cluster.servers[0]._store.partitions[PartitionId(2)].sequence
    part = shard_pb2.PartitionBatch(partition=2, batch=encode_batch(batch_of([Event(user("late"), "Late", NOW_MS)])))
    part.epoch = 1
    deliver = shard_pb2.DeliverRequest(cluster=CLUSTER.cluster, batches=[part])
    release = pb.ReleasePartitionRequest(cluster=CLUSTER.cluster, partition=2, epoch=2, to_shard=2)

    async def both() -> tuple[Any, Any]:
        server = cluster.servers[0]
        return await asyncio.gather(
            server.deliver(deliver), server.moves.giver.release(release), return_exceptions=True
        )

    delivered, released = cluster.run(both())
    assert isinstance(delivered, WrongEpoch)
    assert released.sequence == sequence == cluster.servers[0]._store.partitions[PartitionId(2)].sequence
    cluster.run(_director(cluster).resume())
    cluster.settle(2)
    assert cluster.state(2, 2) == (HoldingState.OWNED, 2)


def test_rules_erasures_and_summaries_move_along(cluster: Cluster) -> None:
    cluster.ingest(*_people(day=1), *_people(day=400))
    store = cluster.servers[0]._store
    rule = admin_pb2.RetentionRule(event="View", days=60)
    cluster.run(set_retention(rule, cluster.routing, far_deadline()))
    names = [
        f"u{n}"
        for n in range(PEOPLE)
        if store.partitions[PartitionId(2)].locate([encode_identifier("user_id", f"u{n}")])[1] != [None]
    ]
    store.erase(PartitionId(2), [encode_identifier("user_id", names[0])])
    expected = cluster.count('count("View") >= 2')
    cluster.move(2, 0, 1)
    for _ in range(2):
        moved = cluster.servers[1]._store.partitions[PartitionId(2)]
        assert moved.retention_days() == {"View": 60}
        assert set(moved.cutoffs()) == {"View"}
        assert cluster.count("everyone") == PEOPLE - 1
        assert cluster.count('count("View") >= 2') == expected == PEOPLE - 1, "what retention left still counts"
        assert names[0] not in cluster.members("everyone")
        cluster.restart(1)


@pytest.mark.parametrize("in_the_tail", [False, True])
def test_suppressions_and_the_quarantine_move_along(cluster: Cluster, in_the_tail: bool) -> None:
    cluster.ingest(*_people())
    store, key = cluster.servers[0]._store, cluster.routing.cluster.hash_key
    gone = Suppression(NOW_MS, tuple(fingerprints(key, Strings.of([b"uzed"]))))
    broken = Quarantined.of(batch_of([Event(user("zoe"), "Odd", NOW_MS)]), ["why"], Links.of([]))

    def change() -> None:
        store.suppress(gone, [PartitionId(2)])
        store.quarantine(PartitionId(2), broken)

    giver = cluster.servers[0].moves.giver
    release = giver.release

    async def after_changes(request: pb.ReleasePartitionRequest) -> pb.ReleasePartitionResponse:
        await cluster.servers[0].commits.between(change)
        return await release(request)

    if in_the_tail:
        giver.release = after_changes  # type: ignore[method-assign]
    else:
        change()
    cluster.move(2, 0, 1)
    for _ in range(2):
        moved = cluster.servers[1]._store.partitions[PartitionId(2)]
        assert moved.suppressions.among(Strings.of([b"uzed", b"uzoe"])).tolist() == [True, False]
        assert [entry.reasons for entry in moved.quarantine.entries.values()] == [("why",)]
        cluster.servers[1]._store.snapshot(0)
        cluster.restart(1)
    assert cluster.count("everyone") == PEOPLE


def test_a_partition_moves_on_and_comes_back(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    for epoch, (source, target) in enumerate([(0, 1), (1, 2), (2, 0), (0, 2), (2, 0)], 2):
        cluster.move(2, source, target, epoch)
        assert cluster.ingest(*_people(f"Step {epoch}")) == (PEOPLE, 0)
        assert cluster.ingest(*_people()) == (0, PEOPLE)
        for number in (source, target):
            cluster.restart(number)
        for server in cluster.servers.values():
            server._store.snapshot(0)
    for epoch in range(2, 7):
        assert cluster.count(f'count("Step {epoch}") = 1 and count("View") = 1') == PEOPLE
    for number in range(3):
        cluster.restart(number)
    assert cluster.count('count("Step 6") = 1 and count("View") = 1') == PEOPLE


def test_named_segments_move_along(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    segments = SharedSegments(cluster.routing)
    segment = segment_of(parse('did("View")'))
    cluster.run(segments.change(lambda known: known.create("vip", segment, "", NOW_MS), far_deadline()))
    cluster.move(0, 0, 2)
    cluster.restart(2)
    cluster.run(segments.change(lambda known: known.create("more", segment, "", NOW_MS), far_deadline()))
    cluster.move(0, 2, 0, epoch=3)
    assert cluster.count('in_segment("vip") and in_segment("more")') == PEOPLE


def test_cold_columns_move_along(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    cluster.servers[0]._store.snapshot(0)
    cluster.ingest(*_people("Later"))
    store = cluster.servers[0]._store
    [name, *_] = [
        f"u{n}"
        for n in range(PEOPLE)
        if store.partitions[PartitionId(2)].locate([encode_identifier("user_id", f"u{n}")])[1] != [None]
    ]
    before = store.receipts(PartitionId(2), [encode_identifier("user_id", name)]).rows.to_pylist()
    assert len(before) == 2
    cluster.move(2, 0, 1)
    cluster.ingest(Sent("Last", name, NOW_MS, {}, message_id="last"))
    found = cluster.servers[1]._store.receipts(PartitionId(2), [encode_identifier("user_id", name)]).rows.to_pylist()
    assert found[:2] == before
    assert [row["message_id"] for row in found][2:] == ["last"]


def test_two_takers_of_one_partition_and_only_one_gets_it(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    cluster.take(2, 0, 1)
    cluster.take(2, 0, 2)
    for target in (1, 2):
        cluster.settle(target)
    for target in (1, 2):
        # A router says so as long as one is on its way in; one that has learned already who got it refuses.
        with suppress(MoveRefused):
            cluster.take(2, 0, target)
        cluster.settle(target)
    states = [cluster.state(number, 2) for number in (1, 2)]
    assert sorted(state.value for state, _ in filter(None, states)) == ["gone", "owned"]
    assert cluster.count("everyone") == PEOPLE


def test_old_news_changes_nothing(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    cluster.move(2, 0, 1)
    cluster.move(2, 1, 0, epoch=3)
    giver = cluster.servers[0].moves.giver
    key = {"cluster": CLUSTER.cluster, "partition": 2, "epoch": 2}
    with pytest.raises(WrongEpoch):
        cluster.run(giver.release(pb.ReleasePartitionRequest(**key, to_shard=1)))
    with pytest.raises(WrongEpoch):
        cluster.run(giver.export(pb.ExportPartitionRequest(**key, to_shard=1)))
    cluster.run(giver.forget(pb.ForgetPartitionRequest(**key)))
    for target in (0, 1):
        with pytest.raises(MoveRefused):
            cluster.take(2, 1 - target, target, 2)
    assert cluster.state(0, 2) == (HoldingState.OWNED, 3)
    assert cluster.count("everyone") == PEOPLE


def test_a_move_is_given_up_until_the_partition_is_released(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    stop = pb.StopTakingRequest(cluster=CLUSTER.cluster, partition=2)
    cluster.take(2, 0, 2)
    assert cluster.run(cluster.servers[2].moves.taker.stop(stop)).stopped
    assert cluster.state(2, 2) == (HoldingState.GONE, 1)
    assert cluster.state(0, 2) == (HoldingState.OWNED, 1)
    assert cluster.count("everyone") == PEOPLE
    cluster.move(2, 0, 2)
    assert not cluster.run(cluster.servers[2].moves.taker.stop(stop)).stopped
    assert cluster.count("everyone") == PEOPLE


def _director(cluster: Cluster) -> Director:
    return Director(cluster.routing)


def test_a_router_moves_drains_and_tells_where_partitions_are(cluster: Cluster) -> None:
    cluster.ingest(*_people())
    director = _director(cluster)
    told = cluster.run(director.move(3, 2))
    assert (told.partition, told.from_shard, told.to_shard) == (3, 1, 2)
    assert [(move.partition, move.to_shard) for move in cluster.run(director.list()).moves] == [(3, 2)]
    cluster.settle(2)
    placed = cluster.run(director.list())
    assert [(each.shard, each.epoch) for each in placed.placements] == [(0, 1), (1, 1), (0, 1), (2, 2)]
    assert not placed.moves
    assert sorted(move.partition for move in cluster.run(director.drain(0))) == [0, 2]
    for target in (1, 2):
        cluster.settle(target)
    assert {each.shard for each in cluster.run(director.list()).placements} == {1, 2}
    assert cluster.count('count("View") = 1') == PEOPLE
    assert cluster.run(director.drain(0)) == []


def test_what_cannot_be_moved_is_refused_with_a_reason(cluster: Cluster) -> None:
    director = _director(cluster)
    with pytest.raises(MoveRefused, match="lives on shard 1 already"):
        cluster.run(director.move(3, 1))
    with pytest.raises(RequestInvalid, match="partitions 0 to 3"):
        cluster.run(director.move(4, 1))
    with pytest.raises(RequestInvalid, match="no shard 7"):
        cluster.run(director.move(3, 7))
    with pytest.raises(RequestInvalid, match="no shard 7"):
        cluster.run(director.drain(7))
    cluster.run(director.move(3, 2))
    with pytest.raises(MoveRefused, match="on its way to shard 2"):
        cluster.run(director.move(3, 0))
    assert cluster.run(director.stop(3))
    assert not cluster.run(director.stop(3))
    cluster.run(director.move(3, 0))
    cluster.settle(0)
    assert cluster.state(0, 3) == (HoldingState.OWNED, 2)


@pytest.mark.parametrize("step", ["begin", "export", "tail", "adopt", "receive", "release", "own", "forget"])
@pytest.mark.parametrize("who", ["giver", "taker"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_move_that_is_killed_at_any_step_goes_on(cluster: Cluster, step: str, who: str, is_done: bool) -> None:
    """The shard is lost right before or right after a step; a router has the move go on, and nothing is lost."""
    cluster.ingest(*_people())
    giving, taking = cluster.servers[0].moves.giver._giving, cluster.servers[2].moves.taker._taking
    side: Any = giving if step in {"export", "tail", "release", "forget"} else taking
    original, struck = getattr(side, step), list[str]()

    def strike(*arguments: Any) -> Any:
        done = original(*arguments) if is_done and not struck else None
        if not struck:
            struck.append(step)
            raise ShardUnavailable(["killed"], [2])
        return done if done is not None else original(*arguments)

    setattr(side, step, strike)
    if step == "begin":
        with pytest.raises(ShardUnavailable):
            cluster.take(2, 0, 2)
    else:
        cluster.take(2, 0, 2)
        cluster.settle(2)
    assert struck == [step]
    cluster.restart(0 if who == "giver" else 2)
    if step == "release":
        assert cluster.state(0, 2) == ((HoldingState.RELEASED, 2) if is_done else (HoldingState.OWNED, 1))
    if cluster.state(2, 2) is None:
        assert cluster.count("everyone") == PEOPLE, "nothing had begun"
        cluster.take(2, 0, 2)
    for _ in range(2):
        cluster.run(_director(cluster).resume())
        cluster.settle(2)
    assert cluster.state(2, 2) == (HoldingState.OWNED, 2)
    assert cluster.state(0, 2) == (HoldingState.GONE, 2)
    assert cluster.count('count("View") = 1') == PEOPLE
    assert cluster.ingest(*_people()) == (0, PEOPLE)
    cluster.restart(2)
    assert cluster.count('count("View") = 1') == PEOPLE


def test_a_restore_takes_each_partition_from_whoever_holds_it(cluster: Cluster, tmp_path: Path) -> None:
    """Also in the middle of a move, when giver and taker both have its data."""
    cluster.ingest(*_people())
    cluster.move(2, 0, 2)
    cluster.ingest(*_people("Later"))
    cluster.take(0, 0, 1)

    def never(*arguments: Any) -> None:
        raise ShardUnavailable(["killed"], [0])

    cluster.servers[1].moves.taker._taking.own = never  # type: ignore[method-assign]
    cluster.settle(1)
    assert cluster.state(0, 0) == (HoldingState.RELEASED, 2)
    source = tmp_path / "source"
    shutil.copytree(tmp_path, source, ignore=shutil.ignore_patterns("source", "LOCK"))
    (source / "cluster.json").write_bytes(msgspec.json.encode(CLUSTER))
    assert placement_in(str(source), CLUSTER) == {0: [0], 1: [1, 3], 2: [2]}
    done = restore(str(source), tmp_path / "restored", Wanted(shards=1), lambda line: None, NOW_MS)
    views = {
        number: server._store.partitions[PartitionId(number)].capture()
        for number, server in (
            (0, cluster.servers[0]),
            (1, cluster.servers[1]),
            (2, cluster.servers[2]),
            (3, cluster.servers[1]),
        )
    }
    assert done.digest == sum((digest(view) for view in views.values()), Digest())
    assert done.profiles == PEOPLE
    del cluster.servers[1].moves.taker._taking.own
    cluster.run(_director(cluster).resume())
    cluster.settle(1)
    assert cluster.count('did("Later")') == PEOPLE


def test_a_move_that_is_given_up_while_its_last_step_waits_is_done(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled caller does not undo the step: the shard owns the partition, and may have acked records."""
    cluster.ingest(*_people())
    taker = cluster.servers[2].moves.taker
    own, may_own, begun = taker._taking.own, threading.Event(), threading.Event()

    def own_late(*arguments: Any) -> None:
        begun.set()
        assert may_own.wait(60)
        own(*arguments)

    async def stop_meanwhile() -> bool:
        await asyncio.to_thread(begun.wait, 60)
        stopping = asyncio.ensure_future(taker.stop(pb.StopTakingRequest(cluster=CLUSTER.cluster, partition=2)))
        under_way = taker._under_way[PartitionId(2)].task
        assert under_way is not None
        await asyncio.wait([under_way], return_when=asyncio.FIRST_COMPLETED)
        may_own.set()
        return (await stopping).stopped

    monkeypatch.setattr(taker._taking, "own", own_late)
    cluster.take(2, 0, 2)
    assert not cluster.run(stop_meanwhile())
    assert cluster.state(2, 2) == (HoldingState.OWNED, 2)
    assert cluster.count("everyone") == PEOPLE
