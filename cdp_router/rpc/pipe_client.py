"""A router's end of pipes to a shard of its own machine: one for all short calls, and one for each stream."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any, Final, Protocol, TypeVar

import grpc

from cdp_router.background import awaited
from cdp_router.deadline import Deadline
from cdp_router.rpc import pipe_frames as frames
from cdp_router.rpc.call import outgoing_metadata
from cdp_router.rpc.expiry import Expiry
from cdp_router.rpc.pipe_frames import (
    CallHead,
    FrameInvalid,
    Framing,
    Kind,
    Meeting,
    NotServed,
    from_failure,
    to_failure,
)

_AGAIN_SECONDS: Final = 1.0  # after a socket that is not there, or does not prove itself
_NUMBERS: Final = 1 << 32
_IDLE_MAX: Final = 8  # pipes kept for the next streams


class PipeClient:
    """Keeps a pipe to the shard at a port, as long as there is one; calls go over gRPC meanwhile."""

    def __init__(self, secret: str, port: int, host: str = "") -> None:
        self._meeting = Meeting.at(secret, port, host)
        self._pipe: _Pipe | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._again_at = 0.0 if sys.platform == "linux" else float("inf")
        self._idle, self._streaming = list[_Pipe](), set[_Pipe]()

    @property
    def pipe(self) -> _Pipe | None:
        """The pipe, if it takes calls now; begins to make one if there is none."""
        pipe = self._pipe
        if pipe is not None and pipe.transport is not None:
            # The other end does not read: gRPC has its own way to wait for it.
            return None if pipe.is_paused else pipe
        if self._connecting is None and asyncio.get_running_loop().time() >= self._again_at:
            self._connecting = awaited(self._connect())
        return None

    async def stream(self, path: str, message: bytes, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        """Messages of a stream, as the reader takes them; NotServed before the first, or AioRpcError as over gRPC.

        It has a pipe of its own: nothing waits behind it, and to end it early is to end its pipe.
        """
        pipe = await self._idle_pipe()
        stream = pipe.stream(path, message, deadline.remaining())
        self._streaming.add(pipe)
        try:
            while (received := await stream.next()) is not None:
                yield received
        except grpc.aio.AioRpcError as failure:
            if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise NotServed from failure
            raise
        finally:
            self._streaming.discard(pipe)
            pipe.forget(stream)
            if stream.is_over and len(self._idle) < _IDLE_MAX:
                self._idle.append(pipe)
            else:
                pipe.end()

    async def _idle_pipe(self) -> _Pipe:
        while self._idle:
            if (pipe := self._idle.pop()).transport is not None:
                return pipe
        if asyncio.get_running_loop().time() < self._again_at or (made := await self._made()) is None:
            raise NotServed
        return made

    async def settle(self) -> None:
        """Waits until the pipe is made, or cannot be made now."""
        if self.pipe is None and self._connecting is not None:
            await asyncio.wait({self._connecting})

    async def close(self) -> None:
        """Ends the pipe and the calls over it."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        self._again_at = float("inf")
        for pipe in (self._pipe, *self._idle, *self._streaming):
            if pipe is not None:
                pipe.end()

    async def _connect(self) -> None:
        try:
            self._pipe = await self._made()
        finally:
            self._connecting = None

    async def _made(self) -> _Pipe | None:
        """A new pipe; None if there can be none now."""
        loop, made = asyncio.get_running_loop(), None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        pipe = _Pipe(self._meeting)
        try:
            sock.connect(self._meeting.name)  # at once, or never: nobody listens, or too many wait
            await loop.create_unix_connection(lambda: pipe, sock=sock)
            await asyncio.wait_for(pipe.proven, frames.PROOF_SECONDS)
            made = pipe
        except OSError:  # TimeoutError is one
            self._again_at = max(self._again_at, loop.time() + _AGAIN_SECONDS)
        finally:
            if made is None:
                pipe.end()
                sock.close()
        return made


class _Pipe(Framing):
    """A connection, and the calls that wait for their answers."""

    def __init__(self, meeting: Meeting) -> None:
        super().__init__()
        self._meeting, self._nonce = meeting, secrets.token_bytes(frames.NONCE_BYTES)
        self._loop = asyncio.get_running_loop()
        self.proven: asyncio.Future[None] = self._loop.create_future()
        self._expected = b""
        self._waiting, self._expiry = dict[int, _Begun](), Expiry()
        self._number = 0

    def call(self, path: str, message: bytes, seconds: float) -> PipeCall:
        """A call that has been sent; its result is the answer, or AioRpcError as over gRPC."""
        return self._begin(PipeCall(self, self._next_number(), self._loop.create_future()), path, message, seconds)

    def stream(self, path: str, message: bytes, seconds: float) -> PipeStream:
        """A call that has been sent and has messages; no other may be under way on the same pipe."""
        return self._begin(PipeStream(self, self._next_number()), path, message, seconds)

    def _next_number(self) -> int:
        self._number = (self._number + 1) % _NUMBERS
        return self._number

    def _begin(self, call: Begun, path: str, message: bytes, seconds: float) -> Begun:
        payload = frames.to_call(CallHead(path, seconds, outgoing_metadata()), message)
        self._waiting[call.number] = call
        self._expiry.add(call, seconds)
        self.send(Kind.CALL, call.number, payload)
        return call

    def forget(self, call: _Begun) -> None:
        """Expects no answer of a call any longer."""
        self._expiry.forget(call)
        self._waiting.pop(call.number, None)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if not self.proven.done():
            self.proven.set_exception(ConnectionError("the other end did not prove itself"))
        self._expiry.close()
        for call in self._waiting.values():
            call.fail(grpc.StatusCode.UNAVAILABLE, "the connection to the shard was lost")

    def received(self, kind: int, number: int, payload: bytes) -> None:
        if not self.is_proven:
            self._prove(kind, payload)
            return
        if not Kind.ANSWER <= kind <= Kind.END:
            raise FrameInvalid(f"kind {kind}")
        if (call := self._waiting.get(number)) is not None:
            call.receive(kind, payload)

    def _prove(self, kind: int, payload: bytes) -> None:
        if kind != Kind.PROOF or len(payload) != frames.NONCE_BYTES:
            raise FrameInvalid("no proof")
        if not self._expected:
            self._expected = self._meeting.proof(payload, self._nonce, b"shard")
            self.send(Kind.PROOF, 0, self._nonce + self._meeting.proof(self._nonce, payload, b"router"))
        elif hmac.compare_digest(payload, self._expected):
            self.prove()
            if not self.proven.done():
                self.proven.set_result(None)
        else:
            raise FrameInvalid("no proof")


class _Begun(Protocol):
    """A call under way."""

    number: int

    def receive(self, kind: int, payload: bytes) -> None:
        """Takes a frame of the call."""

    def expire(self) -> None:
        """Ends a call whose answer is late."""

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the call with an error."""


Begun = TypeVar("Begun", bound=_Begun)


class PipeCall:
    """A call under way. It is sent already, so that several may wait for one another without tasks."""

    __slots__ = ("_pipe", "answer", "number")

    def __init__(self, pipe: _Pipe, number: int, answer: asyncio.Future[bytes]) -> None:
        self._pipe, self.number, self.answer = pipe, number, answer

    def __await__(self) -> Generator[Any, None, bytes]:
        try:
            return (yield from self.answer)
        except asyncio.CancelledError:
            self._pipe.send(Kind.CANCEL, self.number)
            raise
        finally:
            self._pipe.forget(self)

    def receive(self, kind: int, payload: bytes) -> None:
        """Takes the answer."""
        if kind not in (Kind.ANSWER, Kind.FAILURE):
            raise FrameInvalid(f"kind {kind}")
        if self.answer.done():
            return
        if kind == Kind.ANSWER:
            self.answer.set_result(payload)
        else:
            self.answer.set_exception(from_failure(payload))

    def cancel(self) -> None:
        """Gives the call up, if it has no answer yet."""
        if self.answer.cancel():
            self._pipe.send(Kind.CANCEL, self.number)
        self._pipe.forget(self)

    def expire(self) -> None:
        """Ends a call whose answer is late."""
        self._pipe.send(Kind.CANCEL, self.number)
        self.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the call with an error."""
        if not self.answer.done():
            self.answer.set_exception(from_failure(to_failure(code, details)))


class PipeStream:
    """A call with messages, which alone uses its pipe: the other end waits while a message waits for its reader."""

    __slots__ = ("_arrived", "_is_whole", "_pipe", "number")

    def __init__(self, pipe: _Pipe, number: int) -> None:
        self._pipe, self.number, self._is_whole = pipe, number, False
        self._arrived = asyncio.Queue[bytes | grpc.aio.AioRpcError | None]()

    @property
    def is_over(self) -> bool:
        """True once everything that the other end sends for this call was taken."""
        return self._is_whole and self._arrived.empty()

    async def next(self) -> bytes | None:
        """The next message, or None at the end of a whole stream."""
        received = await self._arrived.get()
        if isinstance(received, grpc.aio.AioRpcError):
            raise received
        self._pipe.read_on(goes_on=True)
        return received

    def receive(self, kind: int, payload: bytes) -> None:
        """Takes a message, or the end."""
        if kind == Kind.MESSAGE:
            self._arrived.put_nowait(payload)
            self._pipe.read_on(goes_on=False)
        elif kind in (Kind.END, Kind.FAILURE):
            self._is_whole = True
            self._arrived.put_nowait(None if kind == Kind.END else from_failure(payload))
        else:
            raise FrameInvalid(f"kind {kind}")

    def expire(self) -> None:
        """Ends a stream that is late."""
        self.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the stream with an error, after the messages that have arrived."""
        self._arrived.put_nowait(from_failure(to_failure(code, details)))
