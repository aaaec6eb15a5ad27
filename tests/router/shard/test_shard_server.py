"""A shard, reached in the same process, over gRPC and over either kind of pipe: the same behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.process.serving import SERVER_OPTIONS
from cdp_router.rpc.chain import Chain
from cdp_router.rpc.pipe_server import PipeServer
from cdp_router.rpc.threaded_pipes import ThreadedPipes
from cdp_router.services.shard_services import add_shard_services, threaded_handlers
from cdp_router.shard.grpc_shard_client import PIPED, THREADED, GrpcShardClient
from cdp_router.shard.local_shard_client import LocalShardClient
from cdp_router.shard.server import ShardServer
from tests.raw_records import Event, user
from tests.router.local_cluster import NOW_MS, far_deadline, open_store
from tests.router.shard_client_contract import ShardClientContract, evaluation, one


class TestLocalShardClient(ShardClientContract):
    """In the same process."""

    @asynccontextmanager
    async def connect(self, server: ShardServer) -> AsyncIterator[ShardClient]:
        yield LocalShardClient(server)


class TestGrpcShardClient(ShardClientContract):
    """Over a socket."""

    @asynccontextmanager
    async def connect(self, server: ShardServer) -> AsyncIterator[ShardClient]:
        listening = grpc.aio.server(interceptors=[Chain()], options=SERVER_OPTIONS)
        add_shard_services(server, listening)
        port = listening.add_insecure_port("127.0.0.1:0")
        await listening.start()
        client = GrpcShardClient(f"127.0.0.1:{port}")
        try:
            yield client
        finally:
            await client.close()
            await listening.stop(None)


class TestPipedShardClient(ShardClientContract):
    """Over a pipe, and gRPC for what pipes do not carry."""

    @asynccontextmanager
    async def connect(self, server: ShardServer) -> AsyncIterator[ShardClient]:
        chain = Chain()
        listening = grpc.aio.server(interceptors=[chain], options=SERVER_OPTIONS)
        handlers = add_shard_services(server, listening)
        port = listening.add_insecure_port("127.0.0.1:0")
        pipes = PipeServer("", {path: chain.served(path, handler) for path, handler in handlers.items()})
        await listening.start()
        await pipes.listen(port)
        client = GrpcShardClient(f"127.0.0.1:{port}")
        assert client._pipe is not None
        await client._pipe.settle()
        assert client._pipe.pipe is not None
        try:
            yield client
            assert client._pipe.pipe is not None, "it was used until the end"
        finally:
            await client.close()
            pipes.close()
            await listening.stop(None)


class TestThreadedShardClient(ShardClientContract):
    """Questions over pipes that threads answer, and gRPC for everything else."""

    @asynccontextmanager
    async def connect(self, server: ShardServer) -> AsyncIterator[ShardClient]:
        listening = grpc.aio.server(interceptors=[Chain()], options=SERVER_OPTIONS)
        add_shard_services(server, listening)
        port = listening.add_insecure_port("127.0.0.1:0")
        pipes = ThreadedPipes("", threaded_handlers(server), server.workers, server.workers.size + 1)
        await listening.start()
        await pipes.listen(port)
        client = GrpcShardClient(f"127.0.0.1:{port}")
        assert client._questions is not None
        await client._questions.settle()
        assert client._questions.pipe is not None
        try:
            yield client
            assert client._questions.pipe is not None, "it was used until the end"
        finally:
            await client.close()
            pipes.close()
            await listening.stop(None)


def test_the_methods_that_threads_answer_are_those_that_clients_ask_that_way(tmp_path: Path) -> None:
    async def test() -> None:
        server = ShardServer(open_store(tmp_path, 0), lambda error: None)
        assert set(threaded_handlers(server)) == {method.path for method in THREADED} and THREADED < PIPED
        await server.close()

    asyncio.run(test())


def test_a_shard_remembers_what_short_questions_say(tmp_path: Path) -> None:
    async def test() -> None:
        server = ShardServer(open_store(tmp_path, 0), lambda error: None)
        long = " or ".join(f'did("A", amount > {number})' for number in range(200))
        for text in ('did("A")', 'did("A")', long, long, 'did("B")'):
            assert (await server.evaluate(evaluation(text), far_deadline())).count == 0
        found = server._remembered.cache_info()
        assert (found.hits, found.misses) == (1, 2)
        await server.close()

    asyncio.run(test())


def test_what_is_kept_with_a_question_is_no_answer(tmp_path: Path) -> None:
    async def test() -> None:
        server = ShardServer(open_store(tmp_path, 0), lambda error: None)
        before = await server.evaluate(evaluation('did("Met") or did("Met")'), far_deadline())
        assert (before.count, list(before.known.events)) == (0, [])
        await server.deliver(one([Event(user(name), "Met", NOW_MS, {}) for name in "ab"]))
        after = await server.evaluate(evaluation('did("Met") or did("Met")'), far_deadline())
        assert (after.count, list(after.known.events)) == (2, ["Met"])
        assert server._remembered.cache_info().hits == 1
        await server.close()

    asyncio.run(test())
