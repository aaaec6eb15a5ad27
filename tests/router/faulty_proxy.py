"""A proxy on loopback between an SDK and the gateway, which does to requests what networks and load balancers do."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_PATIENCE_SECONDS = 30.0
_RESET = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN


class Fault(Enum):
    """What becomes of one request."""

    UNAVAILABLE = auto()  # answered 503 here; the gateway never sees it
    CUT_REQUEST = auto()  # the connection is reset when half of the body has been passed on
    LOST_ANSWER = auto()  # taken and answered by the gateway, and reset before the client hears of it
    LATE_ANSWER = auto()  # answered, but the client hears of it only after it has sent the same again


class FaultyProxy(ThreadingHTTPServer):
    """Passes POST requests on; each takes the first fault and then that is gone."""

    daemon_threads = True

    def __init__(self, target: str, faults: Sequence[Fault]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        parts = urlsplit(target)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.faults, self.came = list(faults), threading.Condition()
        self.requests = 0

    @property
    def url(self) -> str:
        """Where SDKs find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begin(self) -> tuple[Fault | None, int]:
        """The fault of a request that has come in, and how many there have been."""
        with self.came:
            self.requests += 1
            self.came.notify_all()
            return (self.faults.pop(0) if self.faults else None), self.requests

    def wait_for_another(self, number: int) -> None:
        """Until more than so many requests have come in."""
        with self.came:
            assert self.came.wait_for(lambda: self.requests > number, _PATIENCE_SECONDS)


class _Passing(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        fault, number = self.server.begin()
        length = int(self.headers["content-length"])
        if fault is Fault.CUT_REQUEST:
            self._cut(self.rfile.read(length // 2), length)
            return
        body = self.rfile.read(length)
        if fault is Fault.UNAVAILABLE:
            self._answer(503, b"<html>no backend</html>")
            return
        gateway = http.client.HTTPConnection(self.server.host, self.server.port, timeout=_PATIENCE_SECONDS)
        gateway.request("POST", self.path, body, dict(self.headers.items()))
        answer = gateway.getresponse()
        said = answer.read()
        gateway.close()
        if fault is Fault.LOST_ANSWER:
            self._reset(self.connection)
            return
        if fault is Fault.LATE_ANSWER:
            self.server.wait_for_another(number)
        self._answer(answer.status, said)

    def _cut(self, half: bytes, length: int) -> None:
        with socket.create_connection((self.server.host, self.server.port), _PATIENCE_SECONDS) as gateway:
            head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            gateway.sendall(head.encode() + half)
            gateway.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._reset(self.connection)

    def _reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close_connection = True
        connection.close()

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client did not wait

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: faults are not news here."""


@contextmanager
def faulty_proxy(target: str, *faults: Fault) -> Iterator[FaultyProxy]:
    """A proxy that runs for the length of the block; all of its faults must have happened at the end."""
    with FaultyProxy(target, faults) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
            assert not proxy.faults
        finally:
            proxy.shutdown()
            thread.join()
