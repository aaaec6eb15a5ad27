"""Pipes of blocking clients to a router of their machine: each call passes the gate, and every promise of it holds."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import query_pb2
from msgspec.msgpack import encode

from cdp_query.errors import QueryInvalid
from cdp_router.client import Client
from cdp_router.client.blocking import _pipes
from cdp_router.errors import Unauthenticated
from cdp_router.process.serving import Serving
from cdp_router.rpc import blocking_pipes, pipe_frames
from cdp_router.rpc.blocking_pipes import CLIENT_PAYLOAD_BYTES_MAX, QUERY, BlockingPipes
from cdp_router.rpc.call import Call, current_principal, current_request_id
from cdp_router.rpc.chain import Chain
from cdp_router.rpc.pipe_frames import CallHead, Kind, Meeting, to_call, to_frame
from cdp_router.rpc.pipe_server import PipeServer
from cdp_router.rpc.principal import Principal
from cdp_router.security.tls.loopback import host_of_loopback
from tests.certificates import Authority

HOST, FAR, SHOWN = "127.0.0.1", 60.0, (("authorization", "Bearer key"),)
_PORTS = itertools.count(80_000)  # no real port, and no two tests share one


@dataclass(slots=True)
class _Router:
    """A service that answers once it may; it is the gate of its chain, and sees what ends there."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    principals: list[str] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)

    def admit(self, call: Call, metadata: Any) -> None:
        if ("authorization", "Bearer key") not in tuple(metadata):
            raise Unauthenticated("KEY_MISSING", "an API key is needed")
        call.principal = Principal("k1", "", frozenset())

    def renew(self, call: Call) -> None:
        """Does nothing."""

    async def query(self, request: query_pb2.QueryRequest, context: Any) -> query_pb2.QueryResponse:
        self.principals.append(current_principal().key)
        self.request_ids.append(current_request_id())
        self.entered.set()
        try:
            await self.may_answer.wait()
        finally:
            self.left.set()
        if self.failure is not None:
            raise self.failure
        return query_pb2.QueryResponse(count=len(request.text))


@dataclass(slots=True)
class _Piped:
    router: _Router
    chain: Chain
    server: PipeServer
    pipes: BlockingPipes
    port: int

    async def ask(self, text: str = "everyone", seconds: float = FAR) -> int | None:
        request = query_pb2.QueryRequest(text=text).SerializeToString()
        answer = await asyncio.to_thread(self.pipes.call, QUERY, request, seconds)
        return None if answer is None else query_pb2.QueryResponse.FromString(answer).count


@asynccontextmanager
async def _piped() -> AsyncIterator[_Piped]:
    router, port = _Router(), next(_PORTS)
    chain = Chain(router)
    handler = grpc.unary_unary_rpc_method_handler(
        router.query, query_pb2.QueryRequest.FromString, query_pb2.QueryResponse.SerializeToString
    )
    methods = {QUERY: chain.served(QUERY, handler, is_admitted=False)}
    server = PipeServer("", methods, HOST, CLIENT_PAYLOAD_BYTES_MAX)
    await server.listen(port)
    pipes = BlockingPipes(Meeting.at("", port, HOST), SHOWN)
    try:
        yield _Piped(router, chain, server, pipes, port)
    finally:
        pipes.close()
        server.close()
        await asyncio.sleep(0)


def _run(test: Callable[[_Piped], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _piped() as piped:
            await test(piped)

    asyncio.run(run())


async def _refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_calls_pass_the_gate_and_one_pipe_carries_one_after_the_other() -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        assert [await piped.ask("abc"), await piped.ask("abcde")] == [3, 5]
        assert piped.router.principals == ["k1", "k1"] and all(piped.router.request_ids)
        assert len(piped.server.pipes) == 1

    _run(test)


def test_a_call_may_follow_before_the_end_of_the_one_before_is_noted() -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        await piped.ask()
        [pipe] = piped.server.pipes
        pipe._calls[1] = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        assert await piped.ask() == 8

    _run(test)


def test_threads_ask_side_by_side() -> None:
    async def test(piped: _Piped) -> None:
        asked = [asyncio.create_task(piped.ask("x" * size)) for size in range(1, 5)]
        while len(piped.router.principals) < 4:
            await asyncio.sleep(0.001)
        piped.router.may_answer.set()
        assert await asyncio.gather(*asked) == [1, 2, 3, 4]
        assert len(piped.server.pipes) == 4

    _run(test)


def test_callers_without_a_key_are_refused_before_their_request_is_read() -> None:
    async def test(piped: _Piped) -> None:
        piped.pipes = BlockingPipes(Meeting.at("", piped.port, HOST), ())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.to_thread(piped.pipes.call, QUERY, b"\xff\xff", FAR)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not piped.router.entered.is_set()
        piped.pipes.close()

    _run(test)


def test_an_error_has_its_code_and_details_and_the_pipe_is_used_again() -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        piped.router.failure = QueryInvalid("no such thing")
        error = await _refused(piped.ask())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "grpc-status-details-bin" in dict(error.trailing_metadata() or ())
        piped.router.failure = None
        assert await piped.ask() == 8
        assert len(piped.server.pipes) == 1

    _run(test)


def test_a_deadline_is_told_and_ends_the_work() -> None:
    async def test(piped: _Piped) -> None:
        assert (await _refused(piped.ask(seconds=0.2))).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await piped.router.left.wait()

    _run(test)


def test_a_router_that_says_nothing_keeps_no_caller_beyond_the_deadline() -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        await piped.ask()
        [pipe] = piped.server.pipes
        pipe.send = lambda *_: None  # type: ignore[method-assign]
        piped.router.may_answer.clear()
        assert (await _refused(piped.ask(seconds=0.05))).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await piped.router.left.wait()
        assert not piped.pipes._idle, "its answer may still come"

    _run(test)


def test_what_a_router_cannot_answer_now_is_asked_for_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_pipes, "_AGAIN_SECONDS", 0.0)

    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        assert await piped.ask("x" * blocking_pipes.REQUEST_BYTES_MAX) is None
        assert await piped.ask() == 8
        piped.chain._closing.set()
        assert await piped.ask() is None, "it shuts down"
        piped.chain._closing.clear()
        piped.server.close()
        assert await piped.ask() is None, "it is gone"
        await piped.server.listen(piped.port)
        assert await piped.ask() == 8, "its next process is found"

    _run(test)


def test_a_router_that_goes_away_meanwhile_is_asked_over_grpc() -> None:
    async def test(piped: _Piped) -> None:
        asked = asyncio.create_task(piped.ask())
        await piped.router.entered.wait()
        for pipe in tuple(piped.server.pipes):
            pipe.end()
        assert await asked is None
        await piped.router.left.wait()

    _run(test)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, 1e10])
def test_deadlines_that_no_socket_takes_are_left_to_grpc(seconds: float) -> None:
    async def test(piped: _Piped) -> None:
        assert await piped.ask(seconds=seconds) is None
        assert not piped.server.pipes

    _run(test)


@pytest.mark.parametrize(
    "failure", [b"\xff" * 50, encode([99, "", []]), encode([3, "", [["key", b"\xff"]]]), encode(["?"])]
)
def test_a_failure_that_cannot_be_read_ends_its_pipe(failure: bytes) -> None:
    async def test(piped: _Piped) -> None:
        asked = asyncio.create_task(piped.ask())
        await piped.router.entered.wait()
        [pipe] = piped.server.pipes
        pipe.send(Kind.FAILURE, 1, failure)
        assert await asked is None
        assert not piped.pipes._idle

    _run(test)


def test_a_head_that_fits_no_frame_is_left_to_grpc() -> None:
    async def test(piped: _Piped) -> None:
        piped.pipes._shown = (("authorization", "k" * pipe_frames.HEAD_BYTES_MAX),)
        assert await piped.ask() is None

    _run(test)


def test_an_absurd_number_of_attempts_counts_as_none() -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        piped.pipes._shown = (*SHOWN, ("grpc-previous-rpc-attempts", "9" * 5000))
        assert await piped.ask() == 8

    _run(test)


def test_larger_frames_than_clients_send_end_their_pipe() -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        await piped.ask()
        [pipe] = piped.pipes._idle
        call = to_call(CallHead(QUERY, None, SHOWN), bytes(CLIENT_PAYLOAD_BYTES_MAX))
        await asyncio.to_thread(pipe._sock.sendall, to_frame(Kind.CALL, 1, call)[: 1 << 12])
        while piped.server.pipes:
            await asyncio.sleep(0)
        assert [await piped.ask(), await piped.ask()] == [None, 8], "over gRPC, and by a pipe that has not ended"

    _run(test)


def test_keys_are_shown_only_to_processes_of_the_same_user(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        meeting, shown = Meeting.at("", next(_PORTS), HOST), list[bytes]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(to_frame(Kind.PROOF, 0, bytes(pipe_frames.NONCE_BYTES)))
            try:
                shown.append(await reader.read(-1))
            except OSError:  # it left before it could be told anything
                shown.append(b"")
            writer.close()

        sock = socket.socket(socket.AF_UNIX)
        sock.bind(meeting.name)
        server = await asyncio.start_unix_server(serve, sock=sock)
        monkeypatch.setattr(blocking_pipes, "_user_of", lambda _: os.geteuid() + 1)
        assert await asyncio.to_thread(BlockingPipes(meeting, SHOWN).call, QUERY, b"", FAR) is None
        while not shown:
            await asyncio.sleep(0)
        assert shown == [b""]
        server.close()

    asyncio.run(test())


def test_a_pipe_from_before_a_fork_is_left_to_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(piped: _Piped) -> None:
        piped.router.may_answer.set()
        assert await piped.ask() == 8
        [before] = piped.pipes._idle
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert await piped.ask() == 8
        assert before not in piped.pipes._idle

    _run(test)


def test_only_clients_of_this_machine_and_without_certificates_try_pipes(tmp_path: Path) -> None:
    assert [host_of_loopback(each) for each in ("127.0.0.1:7", "localhost:7", "[::1]:7", "127.0.0.2:7")] == [
        "127.0.0.1",
        "127.0.0.1",
        "::1",
        "127.0.0.2",
    ]
    assert [host_of_loopback(each) for each in ("10.0.0.1:7", "0.0.0.0:7", "a.example:7", "unix:/x")] == [""] * 4
    assert _pipes("127.0.0.1:7", ()) is not None and _pipes("10.0.0.1:7", ()) is None
    with Client("127.0.0.1:7", tls=Authority(tmp_path, "ca").sign("client")) as client:
        assert client._pipes is None


def test_routers_serve_pipes_only_on_addresses_of_their_machine() -> None:
    async def test() -> None:
        for address, is_served in (("127.0.0.1:0", True), ("0.0.0.0:0", False), ("10.0.0.1:0", False)):
            serving = Serving([])
            serving.add_client_pipes(address, {})
            assert (serving._pipes is not None) is is_served
        with_certificates = Serving([], credentials=grpc.local_server_credentials())
        with_certificates.add_client_pipes("127.0.0.1:0", {})
        assert with_certificates._pipes is None

    asyncio.run(test())
