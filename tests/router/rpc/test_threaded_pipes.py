"""Pipes whose calls threads answer: every promise of a call holds without an event loop. Gates, no sleeps."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from select import EPOLLIN, EPOLLONESHOT, EPOLLOUT
from typing import Any

import grpc
import pytest
from cdp.v1 import shard_pb2
from google.rpc import error_details_pb2, status_pb2

from cdp_query.errors import QueryTooLarge
from cdp_router.rpc import pipe_frames, threaded_calls, threaded_pipes
from cdp_router.rpc.call import Call, current_request_id
from cdp_router.rpc.pipe_client import PipeClient
from cdp_router.rpc.pipe_frames import CallHead, Kind, Meeting, to_call, to_frame
from cdp_router.rpc.threaded_calls import Checkpoint
from cdp_router.rpc.threaded_pipes import HOST, ThreadedPipes
from cdp_router.shard.query_workers import QueryWorkers
from tests.stepping import Choose, Interleaving, SteppingLock, every_change_over

PATH, SECRET, FAR = "/cdp.v1.ShardService/Evaluate", "secret of the cluster", 10.0
_PORTS = itertools.count(80_000)  # no real port, and no two tests share one


@dataclass(slots=True)
class _Shard:
    """A method that answers once it may, and what its observers have seen."""

    may_answer: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    stopped: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None
    answer: shard_pb2.EvaluateResponse = field(default_factory=lambda: shard_pb2.EvaluateResponse(count=7))
    ended: list[Call] = field(default_factory=list)
    all_ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    request_ids: list[str] = field(default_factory=list)

    def evaluate(self, request: shard_pb2.EvaluateRequest, checkpoint: Checkpoint) -> shard_pb2.EvaluateResponse:
        self.request_ids.append(current_request_id())
        self.begun.release()
        try:
            while not self.may_answer.wait(0.001):
                checkpoint()
            checkpoint()
        except BaseException:
            self.stopped.set()
            raise
        if self.failure is not None:
            raise self.failure
        return self.answer


class _Seen:
    """The shard as an observer."""

    def __init__(self, shard: _Shard) -> None:
        self._shard = shard

    def began(self, call: Call, metadata: Any) -> None:
        """Does nothing."""

    def ended(self, call: Call, seconds: float) -> None:
        self._shard.ended.append(call)
        self._shard.all_ended.release()


@dataclass(slots=True)
class _Piped:
    """Both ends."""

    shard: _Shard
    workers: QueryWorkers
    server: ThreadedPipes
    client: PipeClient
    port: int

    async def call(self, seconds: float = FAR, message: bytes = b"") -> shard_pb2.EvaluateResponse:
        pipe = self.client.pipe
        assert pipe is not None
        return shard_pb2.EvaluateResponse.FromString(await pipe.call(PATH, message, seconds))

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.shard.begun.acquire, True, FAR)

    async def ended(self) -> grpc.StatusCode:
        assert await asyncio.to_thread(self.shard.all_ended.acquire, True, FAR)
        return self.shard.ended[-1].code


@asynccontextmanager
async def _piped(secret: str = SECRET, at_once: int = 2, waiting_max: int = 64) -> AsyncIterator[_Piped]:
    shard, port, workers = _Shard(), next(_PORTS), QueryWorkers(at_once, waiting_max)
    handler = grpc.unary_unary_rpc_method_handler(
        shard.evaluate, shard_pb2.EvaluateRequest.FromString, shard_pb2.EvaluateResponse.SerializeToString
    )
    server = ThreadedPipes(SECRET, {PATH: handler}, workers, at_once + 1, (_Seen(shard),))
    await server.listen(port)
    client = PipeClient(secret, port, HOST)
    await client.settle()
    try:
        yield _Piped(shard, workers, server, client, port)
    finally:
        shard.may_answer.set()
        await client.close()
        server.close()
        await asyncio.to_thread(workers.close)


def _run(test: Callable[[_Piped], Awaitable[None]], at_once: int = 2, waiting_max: int = 64) -> None:
    async def run() -> None:
        async with _piped(at_once=at_once, waiting_max=waiting_max) as piped:
            await test(piped)

    asyncio.run(run())


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if holds():
            return
        await asyncio.sleep(0.0005)
    raise AssertionError("it never came to hold")


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


def test_calls_are_answered_side_by_side_and_are_observed() -> None:
    async def test(piped: _Piped) -> None:
        calls = [asyncio.create_task(piped.call()) for _ in range(5)]
        await piped.begun()
        await piped.begun()
        await _until(lambda: piped.workers.waiting == 3)
        piped.shard.may_answer.set()
        assert [each.count for each in await asyncio.gather(*calls)] == [7] * 5
        for _ in calls:
            assert await piped.ended() is grpc.StatusCode.OK
        assert all(piped.shard.request_ids) and piped.workers.waiting == 0

    _run(test)


@pytest.mark.parametrize("at_once", [2, 4])
def test_calls_that_arrive_together_are_evaluated_side_by_side(at_once: int) -> None:
    async def test(piped: _Piped) -> None:
        pipe = piped.client.pipe
        assert pipe is not None and pipe.transport is not None
        call = to_call(CallHead(PATH, FAR, ()), b"")
        pipe.transport.write(b"".join(to_frame(Kind.CALL, number, call) for number in range(1, 7)))
        for _ in range(at_once):
            await piped.begun()
        assert piped.workers.waiting == 6 - at_once

    _run(test, at_once)


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (QueryTooLarge("3 GiB"), grpc.StatusCode.INVALID_ARGUMENT, "QUERY_TOO_LARGE"),
        (ValueError("broken"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (MemoryError(), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (SystemExit(), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_what_an_evaluation_raises_is_the_end_of_its_call_alone(
    failure: BaseException, code: grpc.StatusCode, reason: str
) -> None:
    async def test(piped: _Piped) -> None:
        piped.shard.may_answer.set()
        piped.shard.failure = failure
        for _ in range(4):
            error = await _refused(piped.call())
            assert (error.code(), _reason(error)) == (code, reason)
            assert await piped.ended() is code
        piped.shard.failure = None
        assert (await piped.call()).count == 7

    _run(test, at_once=1)


def test_an_observer_that_fails_takes_no_thread_and_no_place_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("broken")

    async def test(piped: _Piped) -> None:
        piped.shard.may_answer.set()
        monkeypatch.setattr(_Seen, "ended", fail)
        assert [(await piped.call()).count for _ in range(4)] == [7] * 4, "it had been answered"
        monkeypatch.setattr(_Seen, "began", fail)
        assert (await _refused(piped.call())).code() is grpc.StatusCode.UNAVAILABLE
        monkeypatch.undo()
        other = PipeClient(SECRET, piped.port, HOST)
        await other.settle()
        assert other.pipe is not None and await other.pipe.call(PATH, b"", FAR)
        await other.close()

    _run(test, at_once=1)


def test_bytes_that_are_no_message_and_methods_that_are_not_served_are_refused() -> None:
    async def test(piped: _Piped) -> None:
        assert (await _refused(piped.call(message=b"\xff\xff"))).code() is grpc.StatusCode.INVALID_ARGUMENT
        pipe = piped.client.pipe
        assert pipe is not None
        unknown = await _refused(pipe.call("/cdp.v1.ShardService/TakeSnapshot", b"", FAR))
        assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED

    _run(test)


def test_beyond_the_queue_a_call_is_refused_with_a_delay_while_all_threads_evaluate() -> None:
    async def test(piped: _Piped) -> None:
        calls = [asyncio.create_task(piped.call()) for _ in range(3)]
        await piped.begun()
        await _until(lambda: piped.workers.waiting == 2)
        error = await _refused(piped.call())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _reason(error) == "OVERLOADED"
        assert any(key == "grpc-retry-pushback-ms" for key, _ in error.trailing_metadata() or ())
        piped.shard.may_answer.set()
        assert [each.count for each in await asyncio.gather(*calls)] == [7] * 3
        assert len(piped.shard.request_ids) == 3

    _run(test, at_once=1, waiting_max=2)


def test_work_of_the_event_loop_and_of_pipes_shares_the_bound() -> None:
    async def test(piped: _Piped) -> None:
        gate, begun = threading.Event(), threading.Event()

        def work(_: Checkpoint) -> str:
            begun.set()
            assert gate.wait(FAR)
            return "done"

        from_loop = asyncio.create_task(piped.workers.run(work))
        assert await asyncio.to_thread(begun.wait, FAR)
        call = asyncio.create_task(piped.call())
        await _until(lambda: piped.workers.waiting == 1)
        assert not piped.shard.request_ids, "its thread reads on instead"
        piped.shard.may_answer.set()
        gate.set()
        assert (await call).count == 7 and await from_loop == "done"

    _run(test, at_once=1)


def test_a_deadline_ends_the_work_and_is_told_with_its_reason() -> None:
    async def test(piped: _Piped) -> None:
        error = await _refused(piped.call(seconds=1.0))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and _reason(error) == "DEADLINE_EXCEEDED"
        assert await asyncio.to_thread(piped.shard.stopped.wait, FAR)
        assert await piped.ended() is grpc.StatusCode.DEADLINE_EXCEEDED

    _run(test)


def test_a_question_whose_deadline_passes_while_it_waits_never_begins() -> None:
    async def test(piped: _Piped) -> None:
        first = asyncio.create_task(piped.call())
        await piped.begun()
        error = await _refused(piped.call(seconds=0.01))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await piped.ended() is grpc.StatusCode.DEADLINE_EXCEEDED, "withdrawn when its caller gave up"
        piped.shard.may_answer.set()
        assert (await first).count == 7 and len(piped.shard.request_ids) == 1

    _run(test, at_once=1)


def test_a_caller_who_goes_away_stops_the_evaluation_and_leaves_the_queue() -> None:
    async def test(piped: _Piped) -> None:
        calls = [asyncio.create_task(piped.call()) for _ in range(2)]
        await piped.begun()
        await _until(lambda: piped.workers.waiting == 1)
        for call in reversed(calls):
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await piped.ended() is grpc.StatusCode.CANCELLED
        assert piped.shard.stopped.is_set() and len(piped.shard.request_ids) == 1
        piped.shard.may_answer.set()
        assert (await piped.call()).count == 7, "the pipe still stands"

    _run(test, at_once=1)


def test_a_router_that_is_gone_ends_its_calls() -> None:
    async def test(piped: _Piped) -> None:
        call = asyncio.create_task(piped.call())
        await piped.begun()
        await piped.client.close()
        assert (await _refused(call)).code() is grpc.StatusCode.UNAVAILABLE
        assert await piped.ended() is grpc.StatusCode.CANCELLED
        assert not piped.server.pipes

    _run(test)


def test_a_shard_that_shuts_down_refuses_new_calls_and_lets_running_ones_end() -> None:
    async def test(piped: _Piped) -> None:
        call = asyncio.create_task(piped.call())
        await piped.begun()
        draining = asyncio.create_task(piped.server.drain(FAR))
        await asyncio.sleep(0)
        error = await _refused(piped.call())
        assert error.code() is grpc.StatusCode.UNAVAILABLE and _reason(error) == "SHUTTING_DOWN"
        assert not draining.done()
        piped.shard.may_answer.set()
        assert (await call).count == 7
        await draining
        piped.server.close()
        await _until(lambda: not piped.server.pipes)

    _run(test)


def test_closing_stops_the_questions_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads may leave before any of them notices that a pipe ends: here, none ever does."""
    monkeypatch.setattr(threaded_pipes._Pipe, "end", lambda _: None)

    async def test(piped: _Piped) -> None:
        pipe = piped.client.pipe
        assert pipe is not None
        call = pipe.call(PATH, b"", 1000.0)
        await piped.begun()
        piped.server.close()
        assert await asyncio.to_thread(piped.shard.stopped.wait, FAR)
        assert (await _refused(call)).code() is grpc.StatusCode.UNAVAILABLE

    _run(test)


def test_a_shard_is_drained_once_a_large_answer_has_left() -> None:
    async def test(piped: _Piped) -> None:
        piped.shard.answer, pipe = (
            shard_pb2.EvaluateResponse(steps=range(1 << 62, (1 << 62) + 300_000)),
            piped.client.pipe,
        )
        piped.shard.may_answer.set()
        assert pipe is not None and pipe.transport is not None
        pipe.transport.pause_reading()
        call = pipe.call(PATH, b"", FAR)
        await piped.ended()
        [own] = piped.server.pipes.values()
        await _until(lambda: bool(own._leaving))
        draining = asyncio.ensure_future(piped.server.drain(FAR))
        await asyncio.sleep(0)
        pipe.transport.resume_reading()
        assert len(await call) > 1_000_000
        await draining
        assert piped.server._idle is not None and piped.server._idle.is_set(), "it waited for its full time"

    _run(test)


def test_a_pipe_is_busy_until_its_answer_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, send = list[bool](), threaded_pipes._Pipe._send

    def sending(pipe: threaded_pipes._Pipe, frame: bytes) -> None:
        if pipe._is_proven and pipe._calls:
            seen.append(pipe.is_busy)
        send(pipe, frame)

    async def test(piped: _Piped) -> None:
        monkeypatch.setattr(threaded_pipes._Pipe, "_send", sending)
        piped.shard.may_answer.set()
        await piped.call()

    _run(test)
    assert seen == [True]


def test_without_a_free_descriptor_pipes_are_accepted_again_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded_pipes, "_AGAIN_SECONDS", 0.0)

    class Full:
        """A socket whose process has all descriptors in use."""

        def __init__(self, sock: socket.socket) -> None:
            self.fileno = sock.fileno

        def accept(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    async def test(piped: _Piped) -> None:
        loop, sock = asyncio.get_running_loop(), piped.server._sock
        piped.server._sock = Full(sock)  # type: ignore[assignment]
        piped.server._accept()
        assert not loop.remove_reader(sock), "it would be asked again at once, and without end"
        piped.server._sock = sock
        other = PipeClient(SECRET, piped.port, HOST)
        await other.settle()
        assert other.pipe is not None
        await other.close()

    _run(test)


def test_an_answer_beyond_the_limit_is_an_error_of_that_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded_calls, "SHARD_MESSAGE_BYTES_MAX", 100)

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


def test_a_router_that_does_not_read_gets_no_more_calls_in() -> None:
    async def test(piped: _Piped) -> None:
        piped.shard.may_answer.set()
        piped.shard.answer = shard_pb2.EvaluateResponse(steps=range(1 << 20))
        pipe = piped.client.pipe
        assert pipe is not None and pipe.transport is not None
        pipe.transport.pause_reading()
        [served] = piped.server.pipes.values()
        call = asyncio.create_task(piped.call())
        await _until(lambda: bool(served._leaving))
        waiting = asyncio.create_task(piped.call())
        await asyncio.sleep(0.01)
        assert len(piped.shard.request_ids) == 1 and served.is_busy
        pipe.transport.resume_reading()
        await asyncio.gather(call, waiting)
        assert len(piped.shard.request_ids) == 2

    _run(test)


def test_without_the_secret_there_is_no_pipe() -> None:
    async def test() -> None:
        async with _piped("of another cluster") as stranger:
            assert stranger.client.pipe is None  # its name is another one as well
        async with _piped() as piped:
            call = to_call(CallHead(PATH, None, ()), b"")
            for kind, payload in ((Kind.CALL, call), (Kind.PROOF, bytes(64)), (Kind.PROOF, b"")):
                sock = socket.socket(socket.AF_UNIX)
                sock.setblocking(False)
                sock.connect(Meeting.at(SECRET, piped.port, HOST).name)
                reader, writer = await asyncio.open_unix_connection(sock=sock)
                writer.write(to_frame(kind, 1, payload))
                read = await reader.read(-1)
                assert len(read) == pipe_frames._HEAD.size + pipe_frames.NONCE_BYTES, "the drawn number, and the end"
                writer.close()
            assert not piped.shard.request_ids

    asyncio.run(test())


def test_a_caller_who_proves_nothing_is_let_go_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(piped: _Piped) -> None:
        monkeypatch.setattr(pipe_frames, "PROOF_SECONDS", 0.01)
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(Meeting.at(SECRET, piped.port, HOST).name)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        assert len(await reader.read(-1)) == pipe_frames._HEAD.size + pipe_frames.NONCE_BYTES
        writer.close()

    _run(test)


@pytest.mark.parametrize("frame", [(1 << 30, 1, 1), (0, 9, 1), (2, 1, 1)])
def test_frames_that_are_none_end_their_connection_alone(frame: tuple[int, int, int]) -> None:
    async def test(piped: _Piped) -> None:
        other = PipeClient(SECRET, piped.port, HOST)
        await other.settle()
        bad = other.pipe
        assert bad is not None and bad.transport is not None
        bad.transport.write(pipe_frames._HEAD.pack(*frame) + b"\xff\xff")
        await _until(lambda: bad.transport is None)
        piped.shard.may_answer.set()
        assert (await piped.call()).count == 7
        await other.close()

    _run(test)


class _Socket:
    """A socket that takes so many bytes until it is asked again."""

    def __init__(self, arrives: bytes = b"") -> None:
        self.room, self.sent, self._arrives = 5, b"", arrives

    def fileno(self) -> int:
        return 3

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def recv_into(self, room: memoryview) -> int:
        room[: len(self._arrives)] = self._arrives
        return len(self._arrives)


@dataclass(slots=True)
class _Server:
    """The part of a server that a pipe uses, and what the pipe waits for."""

    workers: QueryWorkers = field(default_factory=lambda: QueryWorkers(2))
    methods: dict[str, Any] = field(default_factory=dict)
    observers: tuple[Any, ...] = ()
    is_closing: bool = False
    waits_for: int = EPOLLIN | EPOLLONESHOT

    @property
    def ready(self) -> _Server:
        return self

    def call_help(self) -> None:
        """Does nothing: there is no other thread."""

    def modify(self, _: Any, events: int) -> None:
        self.waits_for = events


def _stepped_pipe(sock: _Socket) -> tuple[_Server, threaded_pipes._Pipe]:
    server = _Server()
    pipe = threaded_pipes._Pipe(server, sock, Meeting.at(SECRET, 1))  # type: ignore[arg-type]
    pipe._lock, pipe._is_proven = SteppingLock(), True  # type: ignore[assignment]
    server.workers._lock = SteppingLock()  # type: ignore[assignment]
    return server, pipe


def test_answers_of_two_threads_leave_whole_whoever_sends_first_and_however_little_fits() -> None:
    frames = [to_frame(Kind.ANSWER, number, bytes([number]) * 9) for number in (1, 2)]

    def run(choose: Choose) -> tuple[_Socket, _Server, threaded_pipes._Pipe]:
        server, pipe = _stepped_pipe(sock := _Socket())
        Interleaving(choose).run(lambda: pipe.answer(1, frames[0]), lambda: pipe.answer(2, frames[1]))
        return sock, server, pipe

    seen = set[bytes]()
    for sock, server, pipe in every_change_over(run):
        while server.waits_for & EPOLLOUT:
            sock.room = 7
            pipe.go_on()
        assert not pipe.is_busy and server.waits_for == EPOLLIN | EPOLLONESHOT
        seen.add(sock.sent)
    assert seen == {frames[0] + frames[1], frames[1] + frames[0]}


def test_a_thread_that_reads_while_another_sends_never_waits_for_the_wrong_thing() -> None:
    answer = to_frame(Kind.ANSWER, 1, bytes(9))

    def run(choose: Choose) -> tuple[_Socket, _Server, threaded_pipes._Pipe]:
        server, pipe = _stepped_pipe(sock := _Socket(to_frame(Kind.CANCEL, 5, b"")))
        Interleaving(choose).run(lambda: pipe.answer(1, answer), lambda: pipe.go_on())
        return sock, server, pipe

    for sock, server, pipe in every_change_over(run):
        assert server.waits_for == EPOLLOUT | EPOLLONESHOT, "part of the answer is left"
        while server.waits_for & EPOLLOUT:
            sock.room = 7
            pipe.go_on()
        assert sock.sent == answer


def test_a_pipe_is_read_by_one_thread_at_a_time_though_an_answer_lets_another_one_wake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that does not fit waits for room, and so wakes a thread while another one reads."""
    frame, frames = to_frame(Kind.CANCEL, 5, b"payload"), list[tuple[int, int, bytes]]()

    class Halves(_Socket):
        """What arrives in two parts; the thread that has read may have to wait before it goes on."""

        def __init__(self) -> None:
            super().__init__()
            self._parts, self._after = [frame[:7], frame[7:]], SteppingLock()

        def recv_into(self, room: memoryview) -> int:
            if not self._parts:
                raise BlockingIOError
            self._arrives = self._parts.pop(0)
            with self._after:
                return super().recv_into(room)

    monkeypatch.setattr(threaded_pipes._Pipe, "_received", lambda _, *frame: frames.append(frame))

    def run(choose: Choose) -> list[tuple[int, int, bytes]]:
        frames.clear()
        _, pipe = _stepped_pipe(Halves())
        Interleaving(choose).run(pipe.go_on, pipe.go_on)
        pipe.go_on()
        return list(frames)

    for seen in every_change_over(run):
        assert seen == [(Kind.CANCEL, 5, b"payload")]


def test_a_call_that_is_cancelled_while_another_thread_takes_it_ends_once() -> None:
    """The thread that reads meets the cancelling at every point of the one that evaluates."""

    def run(choose: Choose) -> tuple[_Shard, _Server]:
        shard = _Shard()
        shard.may_answer.set()
        server, pipe = _stepped_pipe(_Socket())
        handler = grpc.unary_unary_rpc_method_handler(
            shard.evaluate, shard_pb2.EvaluateRequest.FromString, shard_pb2.EvaluateResponse.SerializeToString
        )
        server.methods = ThreadedPipes(SECRET, {PATH: handler}, server.workers, 1).methods
        server.observers = (_Seen(shard),)
        pipe._received(Kind.CALL, 1, to_call(CallHead(PATH, FAR, ()), b""))
        Interleaving(choose).run(server.workers.work_off, lambda: pipe._received(Kind.CANCEL, 1, b""))
        assert not pipe._calls
        return shard, server

    codes = set[grpc.StatusCode]()
    for shard, server in every_change_over(run):
        [call] = shard.ended
        codes.add(call.code)
        assert server.workers.waiting == 0 and server.workers._running == 0
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
