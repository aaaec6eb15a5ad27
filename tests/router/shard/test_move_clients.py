"""What a shard does for moves, asked in the same process and over gRPC: the same behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
from cdp.v1 import partition_pb2 as pb
from google.rpc import code_pb2

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import (
    DELIVER,
    EXPORT_PARTITION,
    FORGET_PARTITION,
    READ_EXPORT,
    READ_HOLDINGS,
    READ_TAIL,
    RELEASE_PARTITION,
    STOP_TAKING,
    TAKE_PARTITION,
)
from cdp_router.process.serving import SERVER_OPTIONS
from cdp_router.rpc.chain import Chain
from cdp_router.services.shard_services import add_shard_services
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.server import ShardServer
from cdp_store.directory.documents import Document
from cdp_store.directory.holdings import HoldingState
from cdp_store.ids import PartitionId
from cdp_store.memory.digest import digest
from cdp_store.snapshot.manifest import decode_manifest
from tests.raw_records import Event, Record, user
from tests.router.local_cluster import CLUSTER, FixedClock, far_deadline, open_store
from tests.router.shard_client_contract import one, refused

MOVED = PartitionId(0)  # of shard 0, to shard 1
WHERE: dict[str, Any] = {"cluster": CLUSTER.cluster, "partition": MOVED}
LINES = {"segments": Document(3, b"all of them")}


@asynccontextmanager
async def local(server: ShardServer) -> AsyncIterator[tuple[ShardClient, Callable[[str], ShardClient], str]]:
    """A client of a shard, how another shard reaches it, and where."""
    yield LocalShardClient(server), lambda _: LocalShardClient(server), "here"


@asynccontextmanager
async def remote(server: ShardServer) -> AsyncIterator[tuple[ShardClient, Callable[[str], ShardClient], str]]:
    """The same over a socket."""
    listening = grpc.aio.server(interceptors=[Chain()], options=SERVER_OPTIONS)
    add_shard_services(server, listening)
    address = f"127.0.0.1:{listening.add_insecure_port('127.0.0.1:0')}"
    await listening.start()
    client = GrpcShardClient(address)
    try:
        yield client, GrpcShardClient, address
    finally:
        await client.close()
        await listening.stop(None)


Reached = tuple[ShardClient, Callable[[str], ShardClient], str]
Way = Callable[[ShardServer], AbstractAsyncContextManager[Reached]]
Ways = pytest.mark.parametrize("way", [local, remote])


async def deliver(server: ShardServer, *users: str) -> None:
    records: list[Record] = [Event(user(name), "View", number) for number, name in enumerate(users)]
    await LocalShardClient(server).call(DELIVER, one(records, users[0].encode()), far_deadline())


@asynccontextmanager
async def shards(folder: Path, way: Way) -> AsyncIterator[tuple[ShardServer, ShardServer, ShardClient, str]]:
    """(giver with some data, taker, a client of the giver, where the giver is)."""
    async with AsyncExitStack() as stack:
        giver = ShardServer(open_store(folder / "0", 0), lambda error: None, clock=FixedClock())
        stack.push_async_callback(giver.close)
        giver._store.documents.replace(MOVED, LINES)
        await deliver(giver, "ann", "bob")
        client, connect, where = await stack.enter_async_context(way(giver))
        taker = ShardServer(open_store(folder / "1", 1), lambda error: None, clock=FixedClock(), connect=connect)
        stack.push_async_callback(taker.close)
        yield giver, taker, client, where


def run(work: Awaitable[None]) -> None:
    async def whole() -> None:
        await work

    asyncio.run(whole())


@Ways
def test_a_partition_is_copied_followed_released_and_forgotten(tmp_path: Path, way: Way) -> None:
    async def test() -> None:
        async with shards(tmp_path, way) as (giver, _, client, _):
            deadline = far_deadline()
            copy = await client.call(
                EXPORT_PARTITION, pb.ExportPartitionRequest(**WHERE, epoch=2, to_shard=1), deadline
            )
            manifest = decode_manifest("copy", copy.manifest)
            assert [each.partition for each in manifest.partitions] == [MOVED]
            for name, entry in manifest.files.items():
                content, more = b"", True
                while more:
                    request = pb.ReadExportRequest(**WHERE, export_id=copy.export_id, file=name, offset=len(content))
                    piece = (await client.call(READ_EXPORT, request, deadline)).data
                    content, more = content + piece, bool(piece)
                assert (len(content), google_crc32c.value(content)) == (entry.bytes, entry.crc32c)
            await deliver(giver, "late")
            tail = await client.call(
                READ_TAIL, pb.ReadTailRequest(**WHERE, export_id=copy.export_id, after=1), deadline
            )
            assert ([each.sequence for each in tail.records], tail.sequence) == ([2], 2)
            release = pb.ReleasePartitionRequest(**WHERE, epoch=2, to_shard=1, export_id=copy.export_id)
            for _ in range(2):  # the answer may have been lost
                released = await client.call(RELEASE_PARTITION, release, deadline)
                assert released.sequence == 2
                assert {each.name: Document(each.version, each.content) for each in released.documents} == LINES
            [held] = await holdings(client)
            assert (held.state, held.epoch, held.shard) == (pb.HOLDING_STATE_RELEASED, 2, 1)
            for _ in range(2):
                await client.call(FORGET_PARTITION, pb.ForgetPartitionRequest(**WHERE, epoch=2), deadline)
            [held] = await holdings(client)
            assert held.state == pb.HOLDING_STATE_GONE and MOVED not in giver._store.partitions

    run(test())


async def holdings(client: ShardClient) -> list[pb.PartitionHolding]:
    request = pb.ReadHoldingsRequest(cluster=CLUSTER.cluster)
    found = await client.call(READ_HOLDINGS, request, far_deadline())
    return [each for each in found.holdings if each.partition == MOVED]


@Ways
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path, way: Way) -> None:
    async def test() -> None:
        async with shards(tmp_path, way) as (giver, _, client, _):
            deadline, before = far_deadline(), dict(giver._store.holdings.all())
            other = {**WHERE, "cluster": "another"}
            lost, elsewhere = code_pb2.FAILED_PRECONDITION, code_pb2.ABORTED
            calls: list[tuple[Awaitable[object], int]] = [
                (
                    client.call(EXPORT_PARTITION, pb.ExportPartitionRequest(**WHERE, epoch=3, to_shard=1), deadline),
                    elsewhere,
                ),
                (
                    client.call(RELEASE_PARTITION, pb.ReleasePartitionRequest(**WHERE, epoch=7, to_shard=1), deadline),
                    elsewhere,
                ),
                (client.call(READ_EXPORT, pb.ReadExportRequest(**WHERE, export_id="no", file="x"), deadline), lost),
                (client.call(READ_TAIL, pb.ReadTailRequest(**WHERE, export_id="no"), deadline), lost),
                (client.call(FORGET_PARTITION, pb.ForgetPartitionRequest(**other, epoch=2), deadline), lost),
                (client.call(READ_HOLDINGS, pb.ReadHoldingsRequest(cluster="another"), deadline), lost),
            ]
            assert [(await refused(call)).code for call, _ in calls] == [code for _, code in calls]
            await client.call(FORGET_PARTITION, pb.ForgetPartitionRequest(**WHERE, epoch=2), deadline)
            assert not (await client.call(STOP_TAKING, pb.StopTakingRequest(**WHERE), deadline)).stopped
            assert dict(giver._store.holdings.all()) == before and MOVED in giver._store.partitions

    run(test())


@Ways
def test_a_taker_takes_all_there_is(tmp_path: Path, way: Way) -> None:
    async def test() -> None:
        async with shards(tmp_path, way) as (giver, taker, client, where):
            before = digest(giver._store.partitions[MOVED].capture())
            request = pb.TakePartitionRequest(**WHERE, epoch=2, from_shard=0, from_address=where)
            await LocalShardClient(taker).call(TAKE_PARTITION, request, far_deadline())
            await asyncio.gather(*(each.task for each in taker.moves.taker._under_way.values() if each.task))
            held = taker._store.holdings.get(MOVED)
            assert held is not None and (held.state, held.epoch) == (HoldingState.OWNED, 2)
            assert digest(taker._store.partitions[MOVED].capture()) == before
            assert taker._store.documents.of(MOVED) == LINES
            [at_giver] = await holdings(client)
            assert at_giver.state == pb.HOLDING_STATE_GONE

    run(test())
