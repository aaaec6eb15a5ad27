"""A blocking client's end of pipes to a router of its own machine: one for each call under way, kept for the next."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Generator
from typing import Final

import grpc

from cdp_router.rpc import pipe_frames as frames
from cdp_router.rpc.call import Metadata, outgoing_metadata
from cdp_router.rpc.pipe_frames import (
    Arriving,
    CallHead,
    FrameInvalid,
    Kind,
    Meeting,
    NotServed,
    from_failure,
    to_failure,
)

# The methods that many wait for, or that many bytes come from; the others are gRPC's.
QUERY: Final = "/cdp.v1.QueryService/Query"
MEMBERS: Final = "/cdp.v1.QueryService/Members"
REQUEST_BYTES_MAX: Final = 1 << 16
CLIENT_PAYLOAD_BYTES_MAX: Final = REQUEST_BYTES_MAX + (1 << 14)  # with the head of a call
_AGAIN_SECONDS: Final = 1.0  # after a socket that is not there, or is somebody else's
_NUMBERS: Final = 1 << 32
_SECONDS_MAX: Final = 1e6  # sockets take no longer ones, and no NaN
_FOR_GRPC: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)  # before anything was received
_PEER: Final = struct.Struct("3i")  # process, user and group


class BlockingPipes:
    """Pipes to the router at a meeting place; safe to use from several threads, and after a fork."""

    def __init__(self, meeting: Meeting, shown: Metadata) -> None:
        """`shown` goes with every call."""
        self._meeting, self._shown = meeting, shown
        self._idle, self._again_at, self._is_closed = deque[_Pipe](), 0.0, False

    def call(self, path: str, message: bytes, seconds: float) -> bytes | None:
        """The answer of a method that changes nothing; None where it has to be asked for over gRPC.

        AioRpcError as over gRPC, except UNAVAILABLE: gRPC has its own way with a router that is gone or shuts down.
        """
        try:
            [answer] = self._received(path, message, seconds, Kind.ANSWER)
        except NotServed:
            return None
        return answer

    def stream(self, path: str, message: bytes, seconds: float) -> Generator[bytes, None, None]:
        """The messages of a stream, as they are wanted; NotServed before the first where gRPC has to bring them.

        After the first, nothing is asked for again: a stream that breaks off is UNAVAILABLE.
        """
        return self._received(path, message, seconds, Kind.END)

    def _received(self, path: str, message: bytes, seconds: float, end: Kind) -> Generator[bytes, None, None]:
        """Payloads that a call brings, up to the frame of the kind `end`."""
        until = time.monotonic() + seconds
        if not seconds < _SECONDS_MAX or len(message) > REQUEST_BYTES_MAX or (pipe := self._taken(until)) is None:
            raise NotServed
        head = CallHead(path, seconds, (*outgoing_metadata(), *self._shown))
        is_begun = is_over = False
        try:
            pipe.send(Kind.CALL, frames.to_call(head, message), until)
            while not is_over:
                kind, payload = self._next(pipe, until)
                if kind == Kind.FAILURE:
                    failure, is_over = from_failure(payload), True
                    raise NotServed if failure.code() in _FOR_GRPC and not is_begun else failure
                is_over = kind == end
                if not is_over and (kind, end) != (Kind.MESSAGE, Kind.END):
                    raise FrameInvalid(f"kind {kind}")
                if kind != Kind.END:
                    is_begun = True
                    yield payload
        except TimeoutError:
            raise from_failure(to_failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")) from None
        except (OSError, FrameInvalid) as error:
            if not is_begun:
                raise NotServed from error
            raise from_failure(
                to_failure(grpc.StatusCode.UNAVAILABLE, "the connection to the router was lost")
            ) from error
        finally:
            # A call that was given up, for whatever reason, ends at the router when its pipe ends.
            if is_over and not self._is_closed:
                self._idle.append(pipe)
            else:
                pipe.close()

    def _next(self, pipe: _Pipe, until: float) -> tuple[int, bytes]:
        if self._is_closed:
            raise from_failure(to_failure(grpc.StatusCode.CANCELLED, "the client was closed"))
        return pipe.receive(until)

    def close(self) -> None:
        """Ends the pipes, those that carry a call after it, and makes no more."""
        self._is_closed, self._again_at = True, float("inf")
        while self._idle:
            self._idle.pop().close()

    def _taken(self, until: float) -> _Pipe | None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                pipe = self._idle.pop()
                if pipe.process == os.getpid():
                    return pipe
                pipe.close()  # of another process, before a fork
        if time.monotonic() < self._again_at:
            return None
        try:
            return _connected(self._meeting, min(until, time.monotonic() + frames.PROOF_SECONDS))
        except (OSError, FrameInvalid):
            self._again_at = max(self._again_at, time.monotonic() + _AGAIN_SECONDS)
            return None


class _Pipe:
    """One connection of one process."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.process, self._number = sock, os.getpid(), 0
        self._arrived, self._frames = Arriving(frames.PAYLOAD_BYTES_MAX), iter(tuple[tuple[int, int, bytes], ...]())

    def send(self, kind: Kind, payload: bytes, until: float) -> None:
        """Sends a frame; TimeoutError where it is late, OSError where the connection is lost."""
        self._sock.settimeout(_left(until))
        # Another number each time: the end of the call before may not be noted there when the next one comes.
        self._number = (self._number + 1) % _NUMBERS
        self._sock.sendall(frames.to_frame(kind, self._number, payload))

    def receive(self, until: float) -> tuple[int, bytes]:
        """Kind and payload of the next frame that answers the one sent before."""
        while (frame := next(self._frames, None)) is None:
            self._sock.settimeout(_left(until))
            count = self._sock.recv_into(self._arrived.room())
            if not count:
                raise ConnectionResetError
            self._frames = self._arrived.frames(count)
        kind, _, payload = frame
        return kind, payload

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()


def _connected(meeting: Meeting, until: float) -> _Pipe:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_left(until))
        sock.connect(meeting.name)
        # Anybody may take a name that is free: the credentials of a caller go to processes of the same user only.
        if _user_of(sock) not in (os.geteuid(), 0):
            raise FrameInvalid("somebody else's socket")
        pipe, own = _Pipe(sock), secrets.token_bytes(frames.NONCE_BYTES)
        _, theirs = pipe.receive(until)
        pipe.send(Kind.PROOF, own + meeting.proof(own, theirs, b"router"), until)
        pipe.receive(until)
    except BaseException:
        sock.close()
        raise
    return pipe


def _user_of(sock: socket.socket) -> int:
    """The user whose process listens at the other end."""
    _, user, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(user)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
