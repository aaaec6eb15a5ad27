"""HTTP connections that cannot be held for nothing: bounds on the time and the bytes outside of bodies, on a body that
continues after its answer, and on an answer that nobody reads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cdp_router.gateway.http_limits import HEADER_BYTES_MAX, IDLE_SECONDS, READ_SECONDS


class _InTurn(FlowControl):
    """Flow control that resumes reading only once no received request waits for its turn, to bound their number."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Resumes reading, unless requests wait after the one being answered."""
        if not self._waiting:
            super().resume_reading()


class BoundedConnection(HttpToolsProtocol):
    """A connection that is closed if a request does not arrive, or does not end, or its answer is not read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: asyncio.TimerHandle | None = None  # for a head, or for the end of a body that was answered
        self._unread: asyncio.TimerHandle | None = None
        self._bytes_beside = 0  # since a head, a body or a piece of one
        self._is_whole = self._has_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first request."""
        super().connection_made(transport)
        self.flow = _InTurn(transport, self.pipeline)
        # Head and body of an answer are written one after the other: the second must not wait for an ack of the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all timers."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts bytes outside of bodies: a head, fields after a body, and separators of chunks."""
        self._bytes_beside += len(data)
        super().data_received(data)
        if self._bytes_beside > HEADER_BYTES_MAX:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Notes the begin of a request's head."""
        self._is_whole = self._has_head = False
        super().on_message_begin()
        if self._waiting is None:
            self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a field of the head; nothing reads fields after a body."""
        if not self._has_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Notes the end of the head; the body has another bound."""
        self._has_head, self._bytes_beside = True, 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Notes a piece of a body."""
        self._bytes_beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Notes the end of a request."""
        self._is_whole, self._bytes_beside = True, 0
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Reads the rest for a while, of the body, whose sender may look for an answer only then, or of a next head."""
        super().on_response_complete()
        if not self._is_whole and self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def pause_writing(self) -> None:
        """Notes that the answer is not read as fast as it is written."""
        super().pause_writing()
        if self._unread is None:
            self._look_again()

    def resume_writing(self) -> None:
        """Notes that the answer is read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def timeout_keep_alive_handler(self) -> None:
        """Closes the connection, which waits for the answer to be read; then cut it off."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(READ_SECONDS, self.transport.abort)

    def _look_again(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(IDLE_SECONDS, self._look_at, left)

    def _look_at(self, left: int) -> None:
        """Continues if anything was read since so many bytes were left."""
        if self.transport.get_write_buffer_size() < left:
            self._look_again()
        else:
            self._unread = None
            self.transport.abort()

    def _wait(self) -> None:
        self._bytes_beside = 0
        self._wait_on()

    def _wait_on(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(READ_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if self.flow.read_paused:  # what is waited for may have arrived
            self._wait_on()
        else:
            self._waiting = None
            self.transport.close()
