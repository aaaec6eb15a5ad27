"""Pipes between router and shard of one machine: only for those with the secret, and every promise of a call holds."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import shard_pb2
from google.rpc import error_details_pb2, status_pb2

from cdp_router.errors import Overloaded
from cdp_router.process.serving import Serving
from cdp_router.rpc import pipe_client, pipe_frames, pipe_server
from cdp_router.rpc.call import Call, current_request_id
from cdp_router.rpc.chain import Chain
from cdp_router.rpc.pipe_client import PipeClient
from cdp_router.rpc.pipe_frames import CallHead, Kind, Meeting, to_call
from cdp_router.rpc.pipe_server import PipeServer
from cdp_router.security.tls.links import Link
from cdp_router.security.tls.tls import Tls
from cdp_router.shard.grpc_shard_client import _pipe

PATH, SECRET, FAR = "/cdp.v1.ShardService/Evaluate", "secret of the cluster", 60.0
_PORTS = itertools.count(70_000)  # no real port, and no two tests share one


@dataclass(slots=True)
class _Shard:
    """A method that answers once it may, and what its chain has seen."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    answer: shard_pb2.EvaluateResponse = field(default_factory=lambda: shard_pb2.EvaluateResponse(count=7))
    ended: list[Call] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)

    async def evaluate(self, request: shard_pb2.EvaluateRequest, context: Any) -> shard_pb2.EvaluateResponse:
        self.request_ids.append(current_request_id())
        self.entered.set()
        try:
            await self.may_answer.wait()
        finally:
            self.left.set()
        if self.failure is not None:
            raise self.failure
        return self.answer


class _Seen:
    """The shard as an observer of its chain."""

    def __init__(self, shard: _Shard) -> None:
        self._shard = shard

    def began(self, call: Call, metadata: Any) -> None:
        """Does nothing."""

    def ended(self, call: Call, seconds: float) -> None:
        self._shard.ended.append(call)


@dataclass(slots=True)
class _Piped:
    """Both ends."""

    shard: _Shard
    chain: Chain
    server: PipeServer
    client: PipeClient
    port: int

    async def call(self, seconds: float = FAR, message: bytes = b"") -> shard_pb2.EvaluateResponse:
        pipe = self.client.pipe
        assert pipe is not None
        return shard_pb2.EvaluateResponse.FromString(await pipe.call(PATH, message, seconds))


@asynccontextmanager
async def _piped(secret: str = SECRET) -> AsyncIterator[_Piped]:
    shard, port = _Shard(), next(_PORTS)
    chain = Chain(observers=(_Seen(shard),))
    handler = grpc.unary_unary_rpc_method_handler(
        shard.evaluate, shard_pb2.EvaluateRequest.FromString, shard_pb2.EvaluateResponse.SerializeToString
    )
    server = PipeServer(SECRET, {PATH: chain.served(PATH, handler)})
    await server.listen(port)
    client = PipeClient(secret, port)
    await client.settle()
    try:
        yield _Piped(shard, chain, server, client, port)
    finally:
        await client.close()
        server.close()
        await asyncio.sleep(0)


def _run(test: Callable[[_Piped], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _piped() as piped:
            await test(piped)

    asyncio.run(run())


async def _connected(port: int) -> socket.socket:
    """A connection of somebody who knows the name of the socket and nothing else."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    sock.connect(Meeting.at(SECRET, port).name)
    return sock


async def _refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def _reason(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def test_calls_are_answered_side_by_side_and_pass_the_chain() -> None:
    async def test(piped: _Piped) -> None:
        calls = [asyncio.create_task(piped.call()) for _ in range(3)]
        await piped.shard.entered.wait()
        piped.shard.may_answer.set()
        assert [each.count for each in await asyncio.gather(*calls)] == [7, 7, 7]
        assert [each.code for each in piped.shard.ended] == [grpc.StatusCode.OK] * 3
        assert all(piped.shard.request_ids)

    _run(test)


def test_an_error_has_its_code_and_details_as_over_grpc() -> None:
    async def test(piped: _Piped) -> None:
        piped.shard.failure = Overloaded("64 questions wait", 250)
        piped.shard.may_answer.set()
        error = await _refused(piped.call())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _reason(error) == "OVERLOADED"
        assert ("grpc-retry-pushback-ms", "250") in list(error.trailing_metadata())
        assert [each.code for each in piped.shard.ended] == [grpc.StatusCode.RESOURCE_EXHAUSTED]

    _run(test)


def test_bytes_that_are_no_message_and_methods_that_are_not_served_are_refused() -> None:
    async def test(piped: _Piped) -> None:
        assert (await _refused(piped.call(message=b"\xff\xff"))).code() is grpc.StatusCode.INVALID_ARGUMENT
        pipe = piped.client.pipe
        assert pipe is not None
        unknown = await _refused(pipe.call("/cdp.v1.ShardService/TakeSnapshot", b"", FAR))
        assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED

    _run(test)


def test_a_deadline_ends_the_work_at_the_shard_and_is_told_with_its_reason() -> None:
    async def test(piped: _Piped) -> None:
        error = await _refused(piped.call(seconds=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and _reason(error) == "DEADLINE_EXCEEDED"
        await piped.shard.left.wait()
        assert [each.code for each in piped.shard.ended] == [grpc.StatusCode.DEADLINE_EXCEEDED]

    _run(test)


def test_a_shard_that_says_nothing_keeps_no_caller_beyond_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(piped: _Piped) -> None:
        monkeypatch.setattr(pipe_server._Pipe, "send", lambda *_: None)
        for seconds in (0.0, 0.02):
            error = await _refused(piped.call(seconds=seconds))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await piped.shard.left.wait()

    _run(test)


def test_a_caller_who_goes_away_ends_the_work_at_the_shard() -> None:
    async def test(piped: _Piped) -> None:
        call = asyncio.create_task(piped.call())
        await piped.shard.entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await piped.shard.left.wait()
        while not piped.shard.ended:
            await asyncio.sleep(0)
        assert [each.code for each in piped.shard.ended] == [grpc.StatusCode.CANCELLED]
        piped.shard.may_answer.set()
        assert (await piped.call()).count == 7, "the pipe still stands"

    _run(test)


def test_a_router_that_is_gone_ends_its_calls_at_the_shard() -> None:
    async def test(piped: _Piped) -> None:
        call = asyncio.create_task(piped.call())
        await piped.shard.entered.wait()
        await piped.client.close()
        assert (await _refused(call)).code() is grpc.StatusCode.UNAVAILABLE
        await piped.shard.left.wait()
        assert piped.client.pipe is None, "closed for good"

    _run(test)


def test_a_shard_that_is_gone_ends_the_calls_and_its_next_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_client, "_AGAIN_SECONDS", 0.0)

    async def test(piped: _Piped) -> None:
        call = asyncio.create_task(piped.call())
        await piped.shard.entered.wait()
        for pipe in tuple(piped.server.pipes):
            pipe.end()
        assert (await _refused(call)).code() is grpc.StatusCode.UNAVAILABLE
        piped.server.close()
        await piped.client.settle()
        assert piped.client.pipe is None
        await piped.server.listen(piped.port)
        await piped.client.settle()
        piped.shard.may_answer.set()
        assert (await piped.call()).count == 7

    _run(test)


def test_a_shard_that_shuts_down_refuses_new_calls_and_lets_running_ones_end() -> None:
    async def test(piped: _Piped) -> None:
        call = asyncio.create_task(piped.call())
        await piped.shard.entered.wait()
        draining = asyncio.create_task(piped.chain.drain(60.0))
        await asyncio.sleep(0)
        error = await _refused(piped.call())
        assert error.code() is grpc.StatusCode.UNAVAILABLE and _reason(error) == "SHUTTING_DOWN"
        piped.shard.may_answer.set()
        assert (await call).count == 7
        await draining

    _run(test)


def test_an_answer_beyond_the_limit_is_an_error_of_that_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_server, "SHARD_MESSAGE_BYTES_MAX", 100)

    async def test(piped: _Piped) -> None:
        piped.shard.may_answer.set()
        piped.shard.answer = shard_pb2.EvaluateResponse(steps=range(200))
        assert (await _refused(piped.call())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        piped.shard.answer = shard_pb2.EvaluateResponse(count=3)
        assert (await piped.call()).count == 3

    _run(test)


def test_large_messages_arrive_whole() -> None:
    async def test(piped: _Piped) -> None:
        piped.shard.may_answer.set()
        piped.shard.answer = shard_pb2.EvaluateResponse(steps=range(1 << 20))
        question = shard_pb2.EvaluateRequest(tz="x" * (1 << 20)).SerializeToString()
        answers = [await piped.call(message=question), *await asyncio.gather(*(piped.call() for _ in range(3)))]
        assert all(len(each.steps) == 1 << 20 for each in answers)

    _run(test)


def test_without_the_secret_there_is_no_pipe() -> None:
    async def test() -> None:
        async with _piped("of another cluster") as stranger:
            assert stranger.client.pipe is None  # its name is another one as well
        async with _piped() as piped:
            sock = await _connected(piped.port)
            reader, writer = await asyncio.open_unix_connection(sock=sock)
            call = to_call(CallHead(PATH, None, ()), b"")
            for kind, payload in ((Kind.CALL, call), (Kind.PROOF, bytes(64)), (Kind.PROOF, b"")):
                writer.write(pipe_frames._HEAD.pack(len(payload), kind, 1) + payload)
            read = await reader.read(-1)
            assert len(read) == pipe_frames._HEAD.size + pipe_frames.NONCE_BYTES, "the drawn number, and the end"
            assert not piped.shard.entered.is_set()
            writer.close()

    asyncio.run(test())


def test_a_caller_who_proves_nothing_is_let_go_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_frames, "PROOF_SECONDS", 0.01)

    async def test(piped: _Piped) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=await _connected(piped.port))
        assert len(await reader.read(-1)) == pipe_frames._HEAD.size + pipe_frames.NONCE_BYTES
        writer.close()

    _run(test)


def test_a_socket_that_is_not_the_shards_gets_no_call() -> None:
    """Somebody else has taken the name: it answers the router's proof with what it can know."""

    async def test() -> None:
        meeting, taken = Meeting.at(SECRET, next(_PORTS)), list[bytes]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            frame = pipe_frames._HEAD.pack(pipe_frames.NONCE_BYTES, Kind.PROOF, 0)
            writer.write(frame + bytes(32))
            taken.append(await reader.read(1 << 16))
            writer.write(frame + taken[0][-32:])  # reflected
            taken.append(await reader.read(-1))
            writer.close()

        sock = socket.socket(socket.AF_UNIX)
        sock.bind(meeting.name)
        server = await asyncio.start_unix_server(serve, sock=sock)
        client = PipeClient(SECRET, 70_000)
        client._meeting = meeting
        await client.settle()
        assert client.pipe is None
        await asyncio.sleep(0.01)
        assert SECRET.encode() not in b"".join(taken) and taken[1:] == [b""]
        await client.close()
        server.close()

    asyncio.run(test())


@pytest.mark.parametrize("frame", [(1 << 30, 1, 1), (0, 9, 1), (2, 1, 1)])
def test_frames_that_are_none_end_their_connection_alone(frame: tuple[int, int, int]) -> None:
    async def test(piped: _Piped) -> None:
        other = PipeClient(SECRET, piped.port)
        await other.settle()
        bad = other.pipe
        assert bad is not None and bad.transport is not None
        bad.transport.write(pipe_frames._HEAD.pack(*frame) + b"\xff\xff")
        while bad.transport is not None:
            await asyncio.sleep(0)
        piped.shard.may_answer.set()
        assert (await piped.call()).count == 7
        await other.close()

    _run(test)


def test_a_router_that_does_not_read_gets_no_more_calls_in() -> None:
    async def test(piped: _Piped) -> None:
        piped.shard.may_answer.set()
        piped.shard.answer = shard_pb2.EvaluateResponse(steps=range(1 << 20))
        pipe = piped.client.pipe
        assert pipe is not None and pipe.transport is not None
        pipe.transport.pause_reading()
        [served] = piped.server.pipes
        call = asyncio.create_task(piped.call())
        while served.transport is None or served.transport.is_reading():
            await asyncio.sleep(0)
        waiting = asyncio.create_task(piped.call())
        await asyncio.sleep(0.01)
        assert len(piped.shard.request_ids) == 1
        pipe.transport.resume_reading()
        await asyncio.gather(call, waiting)
        assert len(piped.shard.request_ids) == 2

    _run(test)


def test_a_shard_that_does_not_read_is_called_over_grpc() -> None:
    async def test(piped: _Piped) -> None:
        pipe = piped.client.pipe
        assert pipe is not None
        pipe.pause_writing()
        assert piped.client.pipe is None
        pipe.resume_writing()
        assert piped.client.pipe is pipe

    _run(test)


def test_pipes_lead_only_to_shards_of_this_machine_and_never_past_certificates(tmp_path: Path) -> None:
    secret = Link((("x-secret", SECRET),))
    assert _pipe("127.0.0.1:7000", secret) is not None and _pipe("[::1]:7000", secret) is not None
    assert _pipe("10.0.0.1:7000", secret) is None
    assert _pipe("unix:/tmp/somewhere", secret) is None
    assert _pipe("127.0.0.1:7000", Link(secret.shown, Tls(ca=tmp_path / "ca.pem"))) is None

    async def test() -> None:
        serving = Serving(["cdp.v1.ShardService"], credentials=grpc.local_server_credentials())
        serving.add_pipes(SECRET, {})
        assert serving._pipes is None

    asyncio.run(test())
