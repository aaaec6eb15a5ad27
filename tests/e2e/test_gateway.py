"""The gateway as a process of `cdp up`, seen from outside."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.gateway_load import requests as requests_of
from benchmarks.gateway_load import send_all
from tests.e2e.processes import _one, cdp, cdp_process, eventually, kill, read_until, starting_cluster

_SEND = re.compile(r"SDKs to (http://\S+)")
_READY = re.compile(r"router at (\S+)")

OTHER = {"type": "track", "event": "Other", "userId": "other"}
TINY_BEFORE, TINY, CONNECTIONS = 1_000, 100_000, 64
GROWTH_BYTES_MAX = 48 << 20  # of the gateway, for what has been answered long ago


def _post(url: str, body: Any) -> int:
    """The status of an answer, 0 where nobody answers."""
    try:
        return requests.post(f"{url}/v1/batch", json=body, auth=("web", ""), timeout=30).status_code
    except requests.ConnectionError:
        return 0


@pytest.mark.long
def test_the_gateway_of_a_cluster_takes_events_and_comes_back_after_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with starting_cluster("--data", data, "--shards", "2", "--gateway", "--gateway-port", "0") as up:
        said = read_until(up, "SDKs to")
        url, router = _SEND.search(said)[1], _READY.search(said)[1]  # type: ignore[index]
        body = {"batch": [{"type": "track", "event": "Buy", "userId": "u", "messageId": "1"}, {"type": "wrong"}]}
        assert _post(url, body) == 200
        assert "TYPE_UNKNOWN" in cdp("dead-letters", "list", "--data", data).stdout
        kill(_one(data, "cdp_router.process.gateway"))
        assert eventually(lambda: _post(url, body)) == 200
        assert cdp("query", 'count("Buy") = 1', "--address", router).stdout.split()[0] == "1"
        assert "2 are kept" in cdp("dead-letters", "redrive", "web", "--data", data, "--address", router).stdout
        by_hand = cdp_process("gateway", "--address", "0.0.0.0:0", "--data", data, code=2)
        assert "--insecure" in by_hand.stderr
        # What is being worked on when it stops is answered.
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0


@pytest.mark.long
def test_a_hundred_thousand_tiny_requests_leave_no_memory_behind_and_others_are_served(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with starting_cluster("--data", data, "--shards", "2", "--gateway", "--gateway-port", "0") as up:
        said = read_until(up, "SDKs to")
        url, router = _SEND.search(said)[1], _READY.search(said)[1]  # type: ignore[index]
        host, _, port = url.removeprefix("http://").rpartition(":")
        others = list[int]()

        async def send(count: int, first: int) -> int:
            """How many of so many requests, of one event each, failed; beside them another sender sends his own."""
            flood = asyncio.ensure_future(send_all(host, int(port), requests_of(count, 1, first), CONNECTIONS, None))
            while not flood.done():
                others.append(await asyncio.to_thread(_post, url, {"batch": [{**OTHER, "messageId": len(others)}]}))
            return (await flood).failed

        assert asyncio.run(send(TINY_BEFORE, 0)) == 0
        gateway = _one(data, "cdp_router.process.gateway")
        assert gateway is not None
        before = gateway.memory_info().rss
        assert asyncio.run(send(TINY, 1)) == 0
        assert gateway.memory_info().rss - before < GROWTH_BYTES_MAX
        assert set(others) == {200}
        # The requests go round among 10,000 users.
        for text, users in (('count("Order Completed") = 11', TINY_BEFORE), ('did("Order Completed")', 10_000)):
            assert cdp("query", text, "--address", router).stdout.split()[0].replace(",", "") == str(users)
        assert cdp("query", f'count("Other") = {len(others)}', "--address", router).stdout.split()[0] == "1"
