"""What holds for a stream of messages on each of its ways: to a shard and to a router, over gRPC and over pipes.

The loop is that of the processes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import uvloop
from cdp.v1 import query_pb2, shard_pb2
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.client import Client
from cdp_router.client.failures import ClusterUnreachable, RequestFailed, failure_of
from cdp_router.cluster.shard_methods import LIST_MEMBERS
from cdp_router.contract.arrow_streams import with_arrow
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded, Unauthenticated
from cdp_router.process.serving import SERVER_OPTIONS
from cdp_router.rpc import pipe_server
from cdp_router.rpc.blocking_pipes import CLIENT_PAYLOAD_BYTES_MAX, MEMBERS
from cdp_router.rpc.call import Call, current_request_id
from cdp_router.rpc.chain import Chain
from cdp_router.rpc.pipe_frames import Arriving, FrameInvalid, Kind, to_frame
from cdp_router.rpc.pipe_server import PipeServer
from cdp_router.security.tls.links import Link
from cdp_router.shard.grpc_shard_client import GrpcShardClient

HOST, FAR, MIB = "127.0.0.1", 60.0, 1 << 20
KEY = ("authorization", "Bearer key")
Failure = RequestFailed | ClusterUnreachable


@dataclass(slots=True)
class _Service:
    """A method that sends what a test says, its gate, and an observer of its chain."""

    to_send: asyncio.Queue[bytes | Exception | None] = field(default_factory=asyncio.Queue)
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    ended: asyncio.Queue[grpc.StatusCode] = field(default_factory=asyncio.Queue)
    request_ids: list[str] = field(default_factory=list)
    sent: int = 0
    is_key_revoked: bool = False

    async def members(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.request_ids.append(current_request_id())
        self.entered.release()
        while (each := await self.to_send.get()) is not None:
            if isinstance(each, Exception):
                raise each
            self.sent += 1
            response = (shard_pb2.ListMembersResponse, query_pb2.MembersResponse)[
                "text" in request.DESCRIPTOR.fields_by_name
            ]
            # Both forms of a response: a message, and one that is encoded already.
            yield response(arrow=each) if self.sent % 2 else with_arrow(response(), [each[:5], each[5:]])

    def admit(self, call: Call, metadata: Any) -> None:
        if self.is_key_revoked or KEY not in tuple(metadata):
            raise Unauthenticated("KEY_MISSING", "an API key is needed")

    def renew(self, call: Call) -> None:
        if self.is_key_revoked:
            raise Unauthenticated("KEY_UNKNOWN", "no such key")

    def began(self, call: Call, metadata: Any) -> None:
        """Does nothing."""


class _Observer:
    def __init__(self, service: _Service) -> None:
        self.began, self._service = service.began, service

    def ended(self, call: Call, seconds: float) -> None:
        self._service.ended.put_nowait(call.code)


class _Shards:
    """The way of a router to a shard."""

    path, request, response, secret, host = LIST_MEMBERS.path, LIST_MEMBERS.request, LIST_MEMBERS.response, KEY[1], ""

    def __init__(self, port: int) -> None:
        self.client = GrpcShardClient(f"{HOST}:{port}", Link((KEY,)))

    def read(self, seconds: float) -> AsyncIterator[Any]:
        return self.client.stream(LIST_MEMBERS, LIST_MEMBERS.request(), Deadline.after(seconds, seconds))

    async def close(self) -> None:
        await self.client.close()


class _Routers:
    """The way of a blocking client to a router."""

    path, request, response, secret, host = MEMBERS, query_pb2.MembersRequest, query_pb2.MembersResponse, "", HOST

    def __init__(self, port: int, key: str = "key") -> None:
        self.client = Client(f"{HOST}:{port}", api_key=key)

    async def read(self, seconds: float) -> AsyncIterator[Any]:
        responses: Any = self.client.members(query_pb2.MembersRequest(text="everyone"), seconds)
        try:
            while (response := await asyncio.to_thread(next, responses, None)) is not None:
                yield response
        finally:
            responses.close()

    async def close(self) -> None:
        await asyncio.to_thread(self.client.close)


@dataclass(slots=True)
class _Both:
    """Both ends of a way."""

    service: _Service
    chain: Chain
    grpc: grpc.aio.Server
    pipes: PipeServer
    way: _Shards | _Routers
    is_piped: bool

    def read(self, seconds: float = FAR) -> AsyncIterator[bytes]:
        return _arrows(self.way.read(seconds))

    def send(self, *each: bytes | Exception | None) -> None:
        for message in each:
            self.service.to_send.put_nowait(message)

    async def failure(self, stream: AsyncIterator[bytes]) -> Failure:
        """The failure that a stream ends with, in one form for both ways."""
        with pytest.raises((RequestFailed, ClusterUnreachable, grpc.aio.AioRpcError)) as caught:
            await anext(stream)
        error: Any = caught.value
        return failure_of(error, "") if isinstance(error, grpc.aio.AioRpcError) else error

    async def cancelled(self) -> None:
        """Returns once the work of a call that its caller gave up has ended."""
        code = await self.service.ended.get()
        assert code is grpc.StatusCode.CANCELLED or (code is grpc.StatusCode.INTERNAL and not self.is_piped)

    async def full(self) -> None:
        """Returns once the other end's socket takes no more."""
        while all(pipe.has_room.is_set() for pipe in self.pipes.pipes):
            await asyncio.sleep(0)


async def _arrows(responses: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        async for response in responses:
            yield response.arrow
    finally:
        await responses.aclose()  # type: ignore[attr-defined]


@asynccontextmanager
async def _both(kind: type[_Shards | _Routers], *, is_piped: bool) -> AsyncIterator[_Both]:
    service = _Service()
    chain = Chain(service, (_Observer(service),))
    handler = grpc.unary_stream_rpc_method_handler(
        service.members, kind.request.FromString, kind.response.SerializeToString
    )
    server = grpc.aio.server(interceptors=[chain], options=SERVER_OPTIONS)
    name = kind.path.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name[1], {name[2]: handler}),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    methods = {kind.path: chain.served(kind.path, handler, is_admitted=kind is _Shards)}
    pipes = PipeServer(kind.secret, methods, kind.host, CLIENT_PAYLOAD_BYTES_MAX)
    if is_piped:
        await pipes.listen(port)
    way = kind(port)
    try:
        yield _Both(service, chain, server, pipes, way, is_piped)
    finally:
        await way.close()
        pipes.close()
        await server.stop(None)


ALL = [(kind, is_piped) for kind in (_Shards, _Routers) for is_piped in (False, True)]
PIPED = [each for each in ALL if each[1]]
Way = tuple[type[_Shards | _Routers], bool]
_on = pytest.mark.parametrize("way", ALL, ids=["shard-grpc", "shard-pipe", "router-grpc", "router-pipe"])
_on_pipes = pytest.mark.parametrize("way", PIPED, ids=["shard-pipe", "router-pipe"])


def _run(way: Way, test: Callable[[_Both], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _both(way[0], is_piped=way[1]) as both:
            await test(both)
            assert bool(both.pipes.pipes) <= both.is_piped

    uvloop.run(run())


@_on
def test_messages_arrive_whole_and_in_order_and_the_call_is_observed(way: Way) -> None:
    messages = [b"first", b"", bytes(range(256)) * 12_000, b"x" * 20_000, b"last"]

    async def test(both: _Both) -> None:
        used = list[Any]()
        for _ in range(2):
            both.send(*messages, None)
            assert [each async for each in both.read()] == messages
            assert await both.service.ended.get() is grpc.StatusCode.OK
            used.extend(both.pipes.pipes)
        assert all(both.service.request_ids)
        assert len(used) == 2 * both.is_piped and len(set(used)) == both.is_piped, "one pipe for one after the other"

    _run(way, test)


@_on
def test_a_message_is_here_before_the_next_one_is_made(way: Way) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        for message in (b"one", b"two", b"three"):
            both.send(message)
            assert await anext(stream) == message
        both.send(None)
        assert [each async for each in stream] == []

    _run(way, test)


@_on
@pytest.mark.parametrize("before", [[], [b"one", b"two" * MIB]])
def test_an_error_has_its_code_and_reason_after_the_messages_before_it(way: Way, before: list[bytes]) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        both.send(*before, Overloaded("64 lists run", 250))
        assert [await anext(stream) for _ in before] == before
        error = await both.failure(stream)
        assert isinstance(error, RequestFailed)
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert (error.retry_after_seconds, error.request_id) == (0.25, both.service.request_ids[0])
        assert await both.service.ended.get() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(both.service.request_ids) == 1, "nothing is asked for again"

    _run(way, test)


@_on
def test_a_deadline_in_the_middle_ends_the_work_and_is_told_with_its_reason(way: Way) -> None:
    async def test(both: _Both) -> None:
        stream = both.read(0.5)
        both.send(b"one")
        assert await anext(stream) == b"one"
        error = await both.failure(stream)
        assert isinstance(error, RequestFailed)
        assert (error.code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert await both.service.ended.get() is grpc.StatusCode.DEADLINE_EXCEEDED

    _run(way, test)


@_on
@pytest.mark.parametrize("size", [3, 8 * MIB])
def test_a_reader_who_is_gone_ends_the_work(way: Way, size: int) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        both.send(b"one", b"x" * size)
        assert await anext(stream) == b"one"
        if both.is_piped and size > MIB:
            await both.full()
        await stream.aclose()  # type: ignore[attr-defined]
        await both.cancelled()

    _run(way, test)


@_on
def test_a_server_that_is_gone_after_the_first_message_is_a_failure_and_no_end(way: Way) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        both.send(b"one")
        assert await anext(stream) == b"one"
        for pipe in tuple(both.pipes.pipes):
            pipe.end()
        if not both.is_piped:
            await both.grpc.stop(None)
        error = await both.failure(stream)
        code = error.code if isinstance(error, RequestFailed) else grpc.StatusCode.UNAVAILABLE
        assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # the latter by gRPC's own stop
        assert code is grpc.StatusCode.UNAVAILABLE or not both.is_piped
        assert len(both.service.request_ids) == 1, "nothing is asked for again"

    _run(way, test)


@_on
def test_a_server_that_shuts_down_lets_a_stream_end_and_refuses_the_next(way: Way) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        both.send(b"one")
        assert await anext(stream) == b"one"
        draining = asyncio.create_task(both.chain.drain(FAR))
        await asyncio.sleep(0)
        error = await both.failure(both.read())
        assert isinstance(error, RequestFailed)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert not draining.done()
        both.send(b"two", None)
        assert [each async for each in stream] == [b"two"]
        await draining

    _run(way, test)


@pytest.mark.parametrize("is_piped", [False, True])
def test_the_gate_of_a_router_decides_before_the_request_is_read_and_at_each_message(is_piped: bool) -> None:
    async def test(both: _Both) -> None:
        stranger = _Both(both.service, both.chain, both.grpc, both.pipes, _Routers(_port(both), "other"), is_piped)
        error = await stranger.failure(stranger.read())
        assert isinstance(error, RequestFailed) and error.code is grpc.StatusCode.UNAUTHENTICATED
        assert not both.service.request_ids
        await stranger.way.close()
        stream = both.read()
        both.send(b"one")
        assert await anext(stream) == b"one"
        both.service.is_key_revoked = True
        both.send(b"two")
        error = await both.failure(stream)
        assert isinstance(error, RequestFailed) and error.reason == "KEY_UNKNOWN"

    _run((_Routers, is_piped), test)


def _port(both: _Both) -> int:
    assert isinstance(both.way, _Routers)
    return int(both.way.client.address.rpartition(":")[2])


@_on_pipes
def test_a_slow_reader_stops_the_work_until_there_is_room(way: Way) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        messages = [bytes([number]) * (2 * MIB) for number in range(12)]
        both.send(*messages, None)
        assert await anext(stream) == messages[0]
        await both.full()
        for _ in range(300):  # turns of the loop of both ends: more than all messages take
            await asyncio.sleep(0)
        # One message was read, one waits at the reader's end at most, and one in the socket and before it.
        assert both.service.sent <= 4
        assert [each async for each in stream] == messages[1:]

    _run(way, test)


@_on_pipes
def test_nothing_waits_behind_a_stream_that_nobody_reads(way: Way) -> None:
    async def test(both: _Both) -> None:
        slow = both.read()
        both.send(*[b"x" * (8 * MIB)] * 2)
        assert len(await anext(slow)) == 8 * MIB
        await both.full()
        quick = both.read()
        reading = asyncio.ensure_future(anext(quick))
        await both.service.entered.acquire()
        await both.service.entered.acquire()
        both.send(b"quick")
        assert await reading == b"quick"
        assert len(both.pipes.pipes) == 2
        for each in (slow, quick):
            await each.aclose()  # type: ignore[attr-defined]
            await both.cancelled()

    _run(way, test)


@_on_pipes
def test_a_pipe_that_does_not_serve_a_stream_leaves_it_to_grpc(way: Way) -> None:
    async def test(both: _Both) -> None:
        both.pipes.methods = {}
        both.send(b"one", None)
        assert [each async for each in both.read()] == [b"one"]
        assert await both.service.ended.get() is grpc.StatusCode.OK

    _run(way, test)


@_on_pipes
def test_a_message_beyond_the_limit_is_an_error_of_its_call_alone(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_server, "SHARD_MESSAGE_BYTES_MAX", 100)

    async def test(both: _Both) -> None:
        both.send(b"x" * 200)
        error = await both.failure(both.read())
        assert isinstance(error, RequestFailed) and error.code is grpc.StatusCode.INTERNAL
        both.send(b"one", None)
        assert [each async for each in both.read()] == [b"one"]
        assert len(both.pipes.pipes) == 1

    _run(way, test)


@_on_pipes
@pytest.mark.parametrize("kind", [Kind.ANSWER, Kind.PROOF, Kind.CALL])
def test_a_frame_that_belongs_to_no_stream_ends_it(way: Way, kind: Kind) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        both.send(b"one")
        assert await anext(stream) == b"one"
        [pipe] = both.pipes.pipes
        [number] = pipe._calls
        pipe.send(kind, number, b"?")
        assert isinstance(await both.failure(stream), ClusterUnreachable)
        await both.cancelled()

    _run(way, test)


@_on
def test_a_client_that_is_closed_ends_its_streams(way: Way) -> None:
    async def test(both: _Both) -> None:
        stream = both.read()
        both.send(b"one")
        assert await anext(stream) == b"one"
        await both.way.close()
        with pytest.raises((RequestFailed, ClusterUnreachable, grpc.aio.AioRpcError, asyncio.CancelledError)):
            await anext(stream)
        await both.cancelled()

    _run(way, test)


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 1 << 31), st.integers(0, 40_000)), max_size=6),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=5),
)
def test_frames_are_the_same_however_their_bytes_arrive(frames: list[tuple[Kind, int, int]], parts: list[int]) -> None:
    sent = [(kind, number, (b"%d" % number * 40_000)[:size]) for kind, number, size in frames]
    whole, found, sizes = b"".join(to_frame(*each) for each in sent), list[Any](), itertools.cycle(parts)
    arriving = Arriving(40_000)
    while whole:
        room = arriving.room()
        assert len(room)
        count = min(len(room), len(whole), next(sizes))
        room[:count], whole = whole[:count], whole[count:]
        found.extend(arriving.frames(count))
    assert found == sent
    room = arriving.room()
    room[:9] = to_frame(0, 0, bytes(40_001))[:9]
    with pytest.raises(FrameInvalid):
        list(arriving.frames(9))
