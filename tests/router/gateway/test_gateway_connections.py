"""Connections that would be held for nothing: what comes behind a request costs no memory, and ends."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from cdp_router.gateway.connections import BoundedConnection
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

HEAD = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
TRAILERS = b"".join(b"a%d: b\r\n" % number for number in range(1000))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """One gateway for all tests."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def connection_to(gateway: GatewayCluster) -> socket.socket:
    """A connection that gives up after half a minute."""
    parts = urlsplit(gateway.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)


def sent_until_closed(connection: socket.socket, data: bytes, times: int) -> int:
    """How often something could be sent before the other side had closed the connection."""
    for number in range(times):
        try:
            connection.sendall(data)
        except OSError:
            return number
    return times


@pytest.mark.parametrize("path", [b"/v1/m", b"/v1/batch"])
def test_fields_behind_a_body_are_bounded_like_those_before_it(gateway: GatewayCluster, path: bytes) -> None:
    with connection_to(gateway) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HEAD + b"2\r\n{}\r\n0\r\n")
        assert sent_until_closed(connection, TRAILERS, 5000) < 5000


def test_a_few_fields_behind_a_body_change_nothing(gateway: GatewayCluster) -> None:
    request = b"POST /v1/m HTTP/1.1\r\n" + HEAD + b"2\r\n{}\r\n0\r\nExpires: never\r\n\r\n"
    with connection_to(gateway) as connection:
        for _ in range(2):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_line", [b"GET /health HTTP/1.1\r\n", b"POST /v1/m HTTP/1.1\r\n", b"PUT /x HTTP/1.1\r\n"]
)
def test_a_body_that_goes_on_after_its_answer_ends_the_connection(
    gateway: GatewayCluster, request_line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp_router.gateway.connections.READ_SECONDS", 0.2)
    with connection_to(gateway) as connection:
        connection.sendall(request_line + HEAD)
        assert connection.recv(10_000).startswith(b"HTTP/1.1 ")
        assert sent_until_closed(connection, b"1000\r\n" + b"x" * 4096 + b"\r\n", 1_000_000) < 1_000_000


def test_an_answer_that_nobody_reads_is_let_go_of(gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_router.gateway.connections.IDLE_SECONDS", 0.2)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connection_to(gateway) as connection:
        connection.settimeout(30)
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(request)


def test_requests_behind_one_that_is_answered_are_read_only_when_none_waits(
    gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, read = list[int](), BoundedConnection.on_headers_complete

    def counted(connection: BoundedConnection) -> None:
        read(connection)
        waiting.append(len(connection.pipeline))

    monkeypatch.setattr(BoundedConnection, "on_headers_complete", counted)
    request = b"POST /v1/m HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 400 + b"\r\nContent-Length: 2\r\n\r\n{}"
    status, requests, answers, end = b"HTTP/1.1 200 ", 2000, 0, b""
    with connection_to(gateway) as connection:
        sending = threading.Thread(target=connection.sendall, args=(request * requests,))
        sending.start()
        while answers < requests and (data := connection.recv(1 << 16)):
            answers += (end + data).count(status)
            end = data[1 - len(status) :]
        sending.join()
    assert answers == requests
    assert max(waiting) <= (256 << 10) // len(request) + 1  # as many as one reading can hold


WHOLE = b"POST /v1/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def answers_in(connection: socket.socket, wanted: int) -> int:
    """How many answers come, of so many."""
    answer = b""
    while answer.count(b"HTTP/1.1 200 ") < wanted or not answer.endswith(b"}"):
        if not (data := connection.recv(10_000)):
            break
        answer += data
    return answer.count(b"HTTP/1.1 200 ")


def test_a_head_in_two_pieces_costs_no_later_request(gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece comes with the request before, so that its time was begun twice."""
    monkeypatch.setattr("cdp_router.gateway.connections.READ_SECONDS", 0.5)
    with connection_to(gateway) as connection:
        connection.sendall(WHOLE + WHOLE[:20])
        assert answers_in(connection, 1) == 1
        connection.sendall(WHOLE[20:])
        assert answers_in(connection, 1) == 1
        time.sleep(1.0)
        connection.sendall(WHOLE)
        assert answers_in(connection, 1) == 1


def test_a_head_need_not_end_while_reading_is_paused(gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_router.gateway.connections.READ_SECONDS", 0.5)
    start = BoundedConnection._start_asgi_task

    def slowly(connection: BoundedConnection, cycle: Any, app: Any) -> None:
        async def later(*arguments: Any) -> None:
            await asyncio.sleep(0.8)
            await app(*arguments)

        start(connection, cycle, later)

    monkeypatch.setattr(BoundedConnection, "_start_asgi_task", slowly)
    with connection_to(gateway) as connection:
        connection.sendall(WHOLE + WHOLE + WHOLE[:20])
        connection.sendall(WHOLE[20:])
        assert answers_in(connection, 3) == 3
