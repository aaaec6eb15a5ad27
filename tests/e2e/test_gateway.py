"""The gateway as a process of `cdp up`, seen from outside."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.processes import _one, cdp, eventually, kill, read_until, starting_cluster

_SEND = re.compile(r"SDKs to (http://\S+)")
_READY = re.compile(r"router at (\S+)")


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
        by_hand = cdp("gateway", "--address", "0.0.0.0:0", "--data", data, code=2)
        assert "--insecure" in by_hand.stderr
        # What is being worked on when it stops is answered.
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
