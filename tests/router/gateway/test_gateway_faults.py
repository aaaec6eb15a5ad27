"""What networks, load balancers and hostile senders do: nothing is lost, taken twice or held without end."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import posthog
import pyarrow as pa
import pytest
import rudderstack.analytics.client as rudder
import segment.analytics.client as segment

from cdp_router.gateway.http_limits import BODY_BYTES_MAX
from cdp_router.gateway.request_bytes import Bodies
from tests.router.faulty_proxy import Fault, faulty_proxy
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

EVENTS, USERS = 230, 4


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """One gateway; each test uses event names and ids of its own."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def speak(library: str, url: str, name: str, timeout: float) -> list[Any]:
    """Send events by a library as it is; what it says it could not send."""
    failed = list[Any]()
    options: dict[str, Any] = {"host": url, "on_error": lambda *problem: failed.append(problem), "timeout": timeout}
    if library == "posthog":
        client: Any = posthog.Posthog("web", flush_interval=0.01, **options)
        for number in range(EVENTS):
            client.capture(name, distinct_id=f"{name}-{number % USERS}")
        client.shutdown()
        return failed
    make = {"segment": segment.Client, "rudderstack": rudder.Client}[library]
    client = make("web", upload_interval=0.01, **options)
    for number in range(EVENTS):
        client.track(f"{name}-{number % USERS}", name, {"n": number})
    client.flush()
    client.join()
    return failed


@pytest.mark.parametrize("library", ["segment", "rudderstack", "posthog"])
@pytest.mark.parametrize("fault", list(Fault))
def test_what_a_fault_takes_is_sent_again_and_counted_once(
    gateway: GatewayCluster, fault: Fault, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep, name = time.sleep, f"{library}-{fault.name}"
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.01)))
    # Only who gives up on a late answer sends the same again.
    timeout = 0.5 if fault is Fault.LATE_ANSWER else 30.0
    with faulty_proxy(gateway.url, fault, fault) as proxy:
        assert speak(library, proxy.url, name, timeout) == []
    found = [gateway.profile(user_id=f"{name}-{user}").event_count for user in range(USERS)]
    assert found == [len(range(user, EVENTS, USERS)) for user in range(USERS)]


def test_connections_that_drip_are_closed_and_others_are_served_meanwhile(
    gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp_router.gateway.connections.READ_SECONDS", 0.5)
    parts = urlsplit(gateway.url)
    with ExitStack() as stack:
        dripping = [
            stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30))
            for _ in range(200)
        ]
        waiting = list(dripping)
        for number in range(1000):
            call = {"type": "track", "event": "served", "userId": "served", "messageId": f"served-{number}"}
            assert gateway.post("/v1/t", call).status_code == 200
            waiting = [connection for connection in waiting if _dripped(connection)]
            if not waiting:
                break
    assert not waiting


def _dripped(connection: socket.socket) -> bool:
    """Send one more byte of a head; False once the other side has had enough."""
    try:
        connection.sendall(b"x")
        connection.setblocking(False)
        return connection.recv(1) != b""
    except BlockingIOError:
        connection.settimeout(30)
        return True
    except OSError:
        return False


def _bomb(encoding: str) -> bytes:
    """Much more than a body may have, in little."""
    plain = b" " * (4 * BODY_BYTES_MAX)
    if encoding == "gzip":
        return gzip.compress(plain, 1)
    if encoding == "deflate":
        return zlib.compress(plain, 1)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, {"br": "brotli"}.get(encoding, encoding)) as stream:
        stream.write(plain)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
def test_a_bomb_is_given_up_at_the_bound_of_a_body(gateway: GatewayCluster, encoding: str) -> None:
    bomb = _bomb(encoding)
    assert len(bomb) < BODY_BYTES_MAX // 50
    answer = gateway.post("/v1/batch", bomb, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_bodies_of_20_mib_are_taken_while_there_is_room_and_small_requests_are_served_beside(tmp_path: Path) -> None:
    call = {"type": "track", "event": "large", "properties": {"pad": "x" * 900_000}}
    items = [call | {"userId": f"u-{number}", "messageId": f"large-{number}"} for number in range(20)]
    body = json.dumps({"batch": items}).encode()
    full = body + b" " * (BODY_BYTES_MAX - len(body))
    small = {"type": "track", "event": "small", "userId": "u", "messageId": "small"}
    bodies = Bodies(bytes_max=2 * BODY_BYTES_MAX)
    with gateway_cluster(tmp_path, bodies=bodies) as gateway:
        assert gateway.post("/v1/batch", full + b" ").status_code == 413
        # Two that never end take all the room there is.
        parts, part = urlsplit(gateway.url), full[: BODY_BYTES_MAX - 1000]
        head = f"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(full)}\r\n\r\n".encode()
        with ExitStack() as stack:
            for _ in range(2):
                held = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
                stack.enter_context(held).sendall(head + part)
            while bodies.held_bytes < 2 * len(part):
                assert gateway.post("/v1/t", small).status_code == 200
            answer = gateway.post("/v1/batch", full)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert gateway.post("/v1/t", small).status_code == 200
        while bodies.held_bytes:  # until the gateway has seen that the two are gone
            assert gateway.post("/v1/t", small).status_code == 200
        assert gateway.post("/v1/batch", full).status_code == 200
        assert gateway.count('did("large")') == 20 and gateway.count('did("small")') == 1
        assert gateway.letters() == []


def test_requests_that_come_at_once_each_learn_of_their_own_records(gateway: GatewayCluster) -> None:
    begun = threading.Barrier(16)

    def send(number: int) -> int:
        begun.wait(30)
        good = {"type": "track", "event": "together", "userId": f"together-{number}", "messageId": f"t-{number}"}
        bad = {**good, "userId": "null", "messageId": f"bad-{number}"}
        answer = gateway.http.post(f"{gateway.url}/1/upload", json={"d": [_upload(good), _upload(bad)]}, timeout=30)
        (failed,) = answer.json()["unprocessed"]
        return int(failed["record"]["evtData"]["number"].rpartition("-")[2])

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(send, range(16))) == list(range(16))
    assert gateway.count('did("together")') == 16


def _upload(call: dict[str, Any]) -> dict[str, Any]:
    data = {"number": call["messageId"]}
    return {"type": "event", "evtName": call["event"], "identity": call["userId"], "ts": 1_760_000_000, "evtData": data}
