"""A router's end of a pipe to a shard of its own machine."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import sys
from collections.abc import Generator
from typing import Any, Final

import grpc

from cdp_router.background import awaited
from cdp_router.rpc import pipe_frames as frames
from cdp_router.rpc.call import outgoing_metadata
from cdp_router.rpc.expiry import Expiry
from cdp_router.rpc.pipe_frames import CallHead, FrameInvalid, Framing, Kind, Meeting, from_failure, to_failure

_AGAIN_SECONDS: Final = 1.0  # after a socket that is not there, or does not prove itself
_NUMBERS: Final = 1 << 32


class PipeClient:
    """Keeps a pipe to the shard at a port, as long as there is one; calls go over gRPC meanwhile."""

    def __init__(self, secret: str, port: int, host: str = "") -> None:
        self._meeting = Meeting.at(secret, port, host)
        self._pipe: _Pipe | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._again_at = 0.0 if sys.platform == "linux" else float("inf")

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
        if self._pipe is not None:
            self._pipe.end()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._again_at = loop.time() + _AGAIN_SECONDS
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        pipe = _Pipe(self._meeting)
        try:
            sock.connect(self._meeting.name)  # at once, or never: nobody listens, or too many wait
            await loop.create_unix_connection(lambda: pipe, sock=sock)
            await asyncio.wait_for(pipe.proven, frames.PROOF_SECONDS)
            self._pipe = pipe
        except OSError:  # TimeoutError is one
            pipe.end()
            sock.close()
        finally:
            self._connecting = None


class _Pipe(Framing):
    """A connection, and the calls that wait for their answers."""

    def __init__(self, meeting: Meeting) -> None:
        super().__init__()
        self._meeting, self._nonce = meeting, secrets.token_bytes(frames.NONCE_BYTES)
        self._loop = asyncio.get_running_loop()
        self.proven: asyncio.Future[None] = self._loop.create_future()
        self._expected = b""
        self._waiting, self._expiry = dict[int, PipeCall](), Expiry()
        self._number = 0

    def call(self, path: str, message: bytes, seconds: float) -> PipeCall:
        """A call that has been sent; its result is the answer, or AioRpcError as over gRPC."""
        self._number = number = (self._number + 1) % _NUMBERS
        payload = frames.to_call(CallHead(path, seconds, outgoing_metadata()), message)
        call = PipeCall(self, number, self._loop.create_future())
        self._waiting[number] = call
        self._expiry.add(call, seconds)
        self.send(Kind.CALL, number, payload)
        return call

    def forget(self, call: PipeCall) -> None:
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
        call = self._waiting.get(number)
        if kind == Kind.ANSWER:
            if call is not None and not call.answer.done():
                call.answer.set_result(payload)
        elif kind == Kind.FAILURE:
            if call is not None and not call.answer.done():
                call.answer.set_exception(from_failure(payload))
        else:
            raise FrameInvalid(f"kind {kind}")

    def _prove(self, kind: int, payload: bytes) -> None:
        if kind != Kind.PROOF or len(payload) != frames.NONCE_BYTES:
            raise FrameInvalid("no proof")
        if not self._expected:
            self._expected = self._meeting.proof(payload, self._nonce, b"shard")
            self.send(Kind.PROOF, 0, self._nonce + self._meeting.proof(self._nonce, payload, b"router"))
        elif hmac.compare_digest(payload, self._expected):
            self.is_proven = True
            if not self.proven.done():
                self.proven.set_result(None)
        else:
            raise FrameInvalid("no proof")


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
