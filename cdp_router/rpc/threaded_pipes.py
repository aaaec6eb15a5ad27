"""A shard's end of pipes whose calls threads answer, without the event loop: one wake-up for each question.

A few threads wait for all of these pipes together. The one that a frame wakes reads it, lets the next one wait for the
pipe, and answers the call itself. There is one thread more than pieces of work that may be under way, so that one
always reads: a router that cancels a call is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import select
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
import msgspec

from cdp_router.background import begin_thread
from cdp_router.errors import Overloaded, ShuttingDown
from cdp_router.rpc import pipe_frames as frames
from cdp_router.rpc.chain import Method, Observer
from cdp_router.rpc.pipe_frames import Arriving, FrameInvalid, Kind, Meeting, to_failure
from cdp_router.rpc.pipe_server import BACKLOG, bound
from cdp_router.rpc.threaded_calls import ThreadedCall, Workers

HOST: Final = "questions "  # in place of a host: these pipes meet at a place of their own
_AGAIN_SECONDS: Final = 1.0  # after all file descriptors were in use
_LOG = logging.getLogger(__name__)


class ThreadedPipes:
    """Accepts pipes and answers their calls on threads."""

    def __init__(
        self,
        secret: str,
        handlers: Mapping[str, Any],
        workers: Workers,
        threads: int,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Unary methods by path, see ThreadedCall; `threads` is one more than `workers` let work at a time."""
        self._secret, self.workers, self.observers = secret, workers, observers
        self.methods = {path: Method.of(path, handler) for path, handler in handlers.items()}
        self._threads, self.is_closing = threads, False
        self.pipes = dict[int, _Pipe]()  # by file descriptor; changed by whole steps
        self._lock, self._running = threading.Lock(), 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: asyncio.Event | None = None

    async def listen(self, port: int) -> None:
        """Accepts pipes of those that know this process by its port."""
        meeting = Meeting.at(self._secret, port, HOST)
        if sys.platform != "linux" or (sock := bound(meeting)) is None:
            return
        sock.listen(BACKLOG)
        sock.setblocking(False)
        self._meeting, self._sock = meeting, sock
        self.ready, self._bell, self._help = select.epoll(), os.eventfd(0), os.eventfd(0)
        self.ready.register(self._bell, select.EPOLLIN)
        # Each call for help wakes one thread, and nobody reads it.
        self.ready.register(self._help, select.EPOLLIN | select.EPOLLET)
        self._loop, self._idle = asyncio.get_running_loop(), asyncio.Event()
        self._loop.add_reader(sock, self._accept)
        self._running = self._threads
        for _ in range(self._threads):
            begin_thread("question", self._serve)

    async def drain(self, seconds: float) -> None:
        """Refuses new calls and waits for the answers of those under way, at most `seconds`."""
        self.is_closing = True
        if self._idle is not None:
            self.note_idle()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)

    def note_idle(self) -> None:
        """Informs `drain` if nothing is under way any longer; called on any thread."""
        if self.is_closing and not any(pipe.is_busy for pipe in tuple(self.pipes.values())):
            loop, idle = self._loop, self._idle
            if loop is not None and idle is not None:
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                    loop.call_soon_threadsafe(idle.set)

    def call_help(self) -> None:
        """Wakes one more thread: calls that arrived together woke only one."""
        os.eventfd_write(self._help, 1)

    def close(self) -> None:
        """Accepts no more pipes, and ends those there are and their threads."""
        self.is_closing = True
        if self._loop is None:
            return
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self._loop = None
        for pipe in tuple(self.pipes.values()):
            pipe.end()
            pipe.stop_calls()  # its threads may leave before one of them notices its end
        os.eventfd_write(self._bell, 1)  # nobody reads it, so that it wakes every thread

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # gone again
        except OSError as error:
            _LOG.warning("no pipe is accepted for a moment: %s", error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)  # it stays readable, and would be asked without end
            loop.call_later(_AGAIN_SECONDS, self._accept_again)
            return
        sock.setblocking(False)
        pipe = self.pipes[sock.fileno()] = _Pipe(self, sock, self._meeting)
        asyncio.get_running_loop().call_later(frames.PROOF_SECONDS, pipe.end_unproven)
        self.ready.register(sock, select.EPOLLIN | select.EPOLLONESHOT)
        pipe.begin()

    def _accept_again(self) -> None:
        if self._loop is not None:
            self._loop.add_reader(self._sock, self._accept)

    def _serve(self) -> None:
        """The work of each thread."""
        while True:
            [(descriptor, _)] = self.ready.poll(maxevents=1)
            if descriptor == self._bell:
                break
            if descriptor == self._help:
                self.workers.work_off(self.call_help)
                continue
            if (pipe := self.pipes.get(descriptor)) is None:
                continue  # lost by another thread
            try:
                pipe.go_on()
            except Exception:  # noqa: BLE001 - border: a thread goes on, whatever comes over one pipe
                _LOG.exception("a pipe is given up")
                pipe.lose()
        with self._lock:
            self._running -= 1
            is_last = not self._running
        if is_last:
            for pipe in tuple(self.pipes.values()):
                pipe.lose()
            self.ready.close()
            os.close(self._bell)
            os.close(self._help)


class _Pipe:
    """A pipe with one router. One thread at a time handles its events; any thread sends its answers."""

    def __init__(self, server: ThreadedPipes, sock: socket.socket, meeting: Meeting) -> None:
        self._server, self._sock, self._meeting = server, sock, meeting
        self._nonce, self._is_proven = secrets.token_bytes(frames.NONCE_BYTES), False
        self._arrived = Arriving(frames.PROOF_BYTES_MAX)
        self._calls = dict[int, ThreadedCall]()  # the thread that reads adds, the one that answers removes
        self._lock = threading.Lock()  # of what is below, and of the socket's sending side
        self._leaving, self._is_open, self._is_handled = bytearray(), True, False

    @property
    def is_busy(self) -> bool:
        """True while a call has no answer, or an answer has not left."""
        return bool(self._calls or self._leaving)

    def begin(self) -> None:
        """Sends the number that the router has to answer."""
        self._send(frames.to_frame(Kind.PROOF, 0, self._nonce))

    def end(self) -> None:
        """Ends the connection; the thread that this wakes lets it go."""
        with self._lock:
            if self._is_open:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)

    def end_unproven(self) -> None:
        """Ends the connection if the other end has not proved itself."""
        if not self._is_proven:
            self.end()

    def go_on(self) -> None:
        """Handles an event of the socket, then does the work that this brought."""
        with self._lock:
            # An answer that waits for room wakes one more thread: the one that is here looks again when it is done.
            if self._is_handled:
                return
            self._is_handled = True
        try:
            # Answers first: a router that does not read them gets no more calls in.
            if self._leaving:
                self._flush()
                if self._server.is_closing:
                    self._server.note_idle()
            elif not self._read():
                self.lose()
                return
        except (OSError, FrameInvalid, msgspec.MsgspecError, struct.error, UnicodeDecodeError):
            self.lose()
            return
        with self._lock:
            self._is_handled = False
            self._wait_for_more()
        self._server.workers.work_off(self._server.call_help)

    def answer(self, number: int, frame: bytes) -> None:
        """Sends the answer of a call, on any thread; until then the pipe is busy."""
        if frame:
            self._send(frame)
        self._calls.pop(number, None)
        if self._server.is_closing:
            self._server.note_idle()

    def lose(self) -> None:
        """Lets the connection go and stops its calls; only for the thread that handles its event."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._leaving.clear()
            del self._server.pipes[self._sock.fileno()]
            self._server.ready.unregister(self._sock)
            self._sock.close()
        self.stop_calls()
        if self._server.is_closing:
            self._server.note_idle()

    def stop_calls(self) -> None:
        """Stops the calls under way, whose answers nobody gets."""
        for number in tuple(self._calls):
            self._cancel(number)

    def _read(self) -> bool:
        """Takes what arrived; False at its end."""
        try:
            count = self._sock.recv_into(self._arrived.room())
        except BlockingIOError:
            return True
        for frame in self._arrived.frames(count):
            self._received(*frame)
        return count > 0

    def _received(self, kind: int, number: int, payload: bytes) -> None:
        if not self._is_proven:
            own = self._meeting.answer_proof(self._nonce, kind, payload)
            self._is_proven, self._arrived.payload_bytes_max = True, frames.PAYLOAD_BYTES_MAX
            self._send(frames.to_frame(Kind.PROOF, 0, own))
        elif kind == Kind.CALL:
            self._begin_call(number, payload)
        elif kind == Kind.CANCEL:
            self._cancel(number)
        else:
            raise FrameInvalid(f"kind {kind}")

    def _begin_call(self, number: int, payload: bytes) -> None:
        head, message = frames.from_call(payload)
        server = self._server
        if number in self._calls:
            raise FrameInvalid(f"call {number} runs already")
        if (method := server.methods.get(head.path)) is None:
            failure = to_failure(grpc.StatusCode.UNIMPLEMENTED, f"no method {head.path}")
            self._send(frames.to_frame(Kind.FAILURE, number, failure))
            return
        call = self._calls[number] = ThreadedCall(number, method, head, message, server.observers, self.answer)
        try:
            if server.is_closing:
                raise ShuttingDown
            server.workers.admit(call)
        except (Overloaded, ShuttingDown) as refusal:
            call.fail(refusal)

    def _cancel(self, number: int) -> None:
        if (call := self._calls.get(number)) is not None:
            call.is_caller_gone = True
            if self._server.workers.withdraw(call):
                call.stop()

    def _flush(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            del self._leaving[: self._sock.send(self._leaving)]

    def _send(self, frame: bytes) -> None:
        """Sends a frame, or keeps what does not fit for the thread that learns that there is room."""
        with self._lock:
            if not self._is_open:
                return
            if self._leaving:
                self._leaving += frame
                return
            try:
                sent = self._sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the connection is lost: whoever reads from it notices
            if sent < len(frame):
                self._leaving += frame[sent:]
                self._wait_for_more()

    def _wait_for_more(self) -> None:
        """Waits for room while answers are left, else for calls."""
        if self._is_open:
            self._server.ready.modify(
                self._sock, (select.EPOLLOUT if self._leaving else select.EPOLLIN) | select.EPOLLONESHOT
            )
