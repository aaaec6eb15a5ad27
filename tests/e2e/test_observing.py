"""What the processes of a running cluster tell: metrics over HTTP, logs as JSON, the live view."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from cdp.v1 import query_pb2

from cdp_router.client import Client
from tests.e2e.processes import ENVIRONMENT, read_until
from tests.router.encodings import Sent, protobuf_batch

PAST_MS = 1_700_000_000_000


def _metrics(data: Path, process: str) -> str:
    """The metrics of a process, at the address its log names."""
    lines = [json.loads(line) for line in (data / "logs" / f"{process}.log").read_text().splitlines()]
    [message] = [line["message"] for line in lines if line["message"].startswith("metrics at ")]
    with urllib.request.urlopen(message.removeprefix("metrics at ")) as answer:
        return str(answer.read().decode())


def test_router_and_shards_serve_their_metrics(cluster_data: Path, client: Client) -> None:
    client.ingest(protobuf_batch([Sent("observing.seen", f"observing-{n}", PAST_MS, {}) for n in range(20)]))
    client.query(query_pb2.QueryRequest(text='did("observing.seen")'))
    router = _metrics(cluster_data, "router")
    assert 'cdp_ingest_records_total{outcome="accepted"}' in router
    assert 'cdp_rpc_handled_total{code="OK",method="Query",service="cdp.v1.QueryService"}' in router
    for shard in (0, 1):
        told = _metrics(cluster_data, f"shard-{shard}")
        assert 'cdp_rpc_handled_total{code="OK",method="Evaluate",service="cdp.v1.ShardService"}' in told
        assert "cdp_partition_events{" in told
        assert "observing-1" not in told


def test_the_live_view_goes_on_until_it_is_stopped(address: str) -> None:
    command = [sys.executable, "-m", "cdp_router", "status", "--watch", "--every", "0.1", "--address", address]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit to ignore it
    try:
        live = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)
    finally:
        signal.signal(signal.SIGINT, before)
    with live:
        for _ in range(3):
            assert "serving" in read_until(live, "serving")
        live.send_signal(signal.SIGINT)
        assert live.stdout is not None
        assert "Traceback" not in live.stdout.read()
        assert live.wait() == 0
