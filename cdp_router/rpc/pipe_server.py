"""The server's end of pipes, at a shard or a router: methods of its chain over a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import grpc

from cdp_router.background import awaited
from cdp_router.contract.arrow_streams import Pieces
from cdp_router.limits import SHARD_MESSAGE_BYTES_MAX
from cdp_router.rpc import pipe_frames as frames
from cdp_router.rpc.pipe_frames import CallHead, FrameInvalid, Framing, Kind, Meeting, to_failure

Serve = Callable[[bytes, Any], Awaitable[bytes | None]]  # None: a stream, whose messages were written
_LOG = logging.getLogger(__name__)
BACKLOG: Final = 64


class PipeServer:
    """Accepts pipes and answers their calls, each in a task of its own."""

    def __init__(
        self,
        secret: str,
        methods: Mapping[str, Serve],
        host: str = "",
        payload_bytes_max: int = frames.PAYLOAD_BYTES_MAX,
    ) -> None:
        """`methods` by their path, inside the chain; a router, which has no secret, is met by its host as well."""
        self._secret, self.methods, self._host = secret, methods, host
        self.payload_bytes_max = payload_bytes_max
        self.pipes = set[_Pipe]()
        self._listening: asyncio.Server | None = None

    async def listen(self, port: int) -> None:
        """Accepts pipes of those that know this process by its port; without such a socket gRPC alone serves."""
        if sys.platform != "linux":
            return
        meeting = Meeting.at(self._secret, port, self._host)
        if (sock := bound(meeting)) is None:
            return
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_unix_server(lambda: _Pipe(self, meeting), sock=sock, backlog=BACKLOG)

    def close(self) -> None:
        """Accepts no more pipes, and ends those there are after what they have sent."""
        if self._listening is not None:
            self._listening.close()
        for pipe in tuple(self.pipes):
            pipe.close()


class _Pipe(Framing):
    """A pipe with one router, or one client of a router."""

    def __init__(self, server: PipeServer, meeting: Meeting) -> None:
        super().__init__(server.payload_bytes_max)
        self._server, self._meeting, self._nonce = server, meeting, secrets.token_bytes(frames.NONCE_BYTES)
        self._calls = dict[int, asyncio.Task[None]]()
        self.has_room = asyncio.Event()  # for the messages of a stream
        self.has_room.set()
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.pipes.add(self)
        self._patience = asyncio.get_running_loop().call_later(frames.PROOF_SECONDS, self.end)
        self.send(Kind.PROOF, 0, self._nonce)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._server.pipes.discard(self)
        self._admitted()
        for task in self._calls.values():
            task.cancel()

    def pause_writing(self) -> None:
        # A router that does not read its answers gets no more calls in.
        self.has_room.clear()
        self.read_on(goes_on=False)

    def resume_writing(self) -> None:
        self.has_room.set()
        self.read_on(goes_on=True)

    def received(self, kind: int, number: int, payload: bytes) -> None:
        if not self.is_proven:
            self._check(kind, payload)
        elif kind == Kind.CALL:
            head, message = frames.from_call(payload)
            if number in self._calls:
                raise FrameInvalid(f"call {number} runs already")
            task = self._calls[number] = awaited(self._answer(number, head, message))
            task.add_done_callback(lambda _: self._calls.pop(number, None))
        elif kind == Kind.CANCEL:
            if (running := self._calls.get(number)) is not None:
                running.cancel()
        else:
            raise FrameInvalid(f"kind {kind}")

    def close(self) -> None:
        """Ends the pipe once everything is written."""
        if self.transport is not None:
            self.transport.close()

    def _check(self, kind: int, payload: bytes) -> None:
        own = self._meeting.answer_proof(self._nonce, kind, payload)
        self.prove()
        self._admitted()
        self.send(Kind.PROOF, 0, own)

    def _admitted(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    async def _answer(self, number: int, head: CallHead, message: bytes) -> None:
        if (serve := self._server.methods.get(head.path)) is None:
            self.send(Kind.FAILURE, number, to_failure(grpc.StatusCode.UNIMPLEMENTED, f"no method {head.path}"))
            return
        try:
            answer = await serve(message, _Context(head, self, number))
            if answer is None:
                self.send(Kind.END, number)
            else:
                self.send_whole(Kind.ANSWER, number, answer)
        except Aborted as aborted:
            self.send(Kind.FAILURE, number, aborted.failure)

    def send_whole(self, kind: Kind, number: int, *pieces: bytes | memoryview) -> None:
        """Sends a message; Aborted if it is larger than any may be."""
        if (length := sum(map(len, pieces))) > SHARD_MESSAGE_BYTES_MAX:
            problem = f"an answer of {length} bytes; the limit is {SHARD_MESSAGE_BYTES_MAX}"
            raise Aborted(to_failure(grpc.StatusCode.RESOURCE_EXHAUSTED, problem))
        self.send(kind, number, *pieces)


def bound(meeting: Meeting) -> socket.socket | None:
    """A socket at a meeting place; None where there can be none, and calls come over gRPC alone."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(meeting.name)
    except OSError as error:
        sock.close()
        _LOG.warning("no pipes are served, only gRPC: %s", error)
        return None
    return sock


class Aborted(Exception):
    """A call ended with a status, which is the payload of `failure`."""

    def __init__(self, failure: bytes) -> None:
        super().__init__()
        self.failure = failure


class _Context:
    """The part of gRPC's context that the chain and the methods use."""

    def __init__(self, head: CallHead, pipe: _Pipe, number: int) -> None:
        self._pipe, self._number = pipe, number
        self._head, loop = head, asyncio.get_running_loop()
        self._until = math.inf if head.seconds is None else loop.time() + head.seconds

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata that came with the call."""
        return self._head.metadata

    def time_remaining(self) -> float | None:
        """Seconds that the caller still waits."""
        return None if math.isinf(self._until) else self._until - asyncio.get_running_loop().time()

    def set_trailing_metadata(self, _: frames.Metadata) -> None:
        """Does nothing: the caller knows the id of its request."""

    async def write(self, pieces: Pieces) -> None:
        """Sends a message of a stream, and waits until the caller has taken nearly all of it."""
        self._pipe.send_whole(Kind.MESSAGE, self._number, *pieces)
        await self._pipe.has_room.wait()

    async def abort(self, code: grpc.StatusCode, details: str, metadata: frames.Metadata = ()) -> NoReturn:
        """Ends the call."""
        raise Aborted(to_failure(code, details, metadata))
