"""Events per second through the HTTP gateway, and how long answers take: `python -m benchmarks.gateway_load`.

Client, gateway, router and shards share this machine. The client is wrk, if it is installed, else one of ours, whose
requests are made beforehand; every event has a message id of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.wrk_load import MARK, USER_MARK, has_wrk, run_wrk
from cdp_router.client import Client

_SEND = re.compile(r"SDKs to http://([^:\s]+):(\d+)")
_READY = re.compile(r"router at (\S+)")
_USERS = 10_000
_WARM_UP = "warm-up"


@contextmanager
def _cluster(data: Path) -> Iterator[tuple[str, int, str]]:
    """(host and port of the gateway, address of the router) of a cluster with two shards."""
    command = [sys.executable, "-m", "cdp_router", "up", "--data", str(data), "--shards", "2", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    try:
        while (send := _SEND.search(said)) is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the cluster did not start: {said}")
            said += line
        router = _READY.search(said)
        assert router is not None
        yield send[1], int(send[2]), router[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def body_of(batch: int, users: Callable[[int], str], prefix: str) -> str:
    """The body of a request as Segment's library sends it: `users` tells whose each event is, and `prefix` makes the
    message ids its own."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    events = [
        {
            "type": "track",
            "event": "Order Completed" if event % 10 == 0 else "Product Viewed",
            "userId": users(event),
            "anonymousId": None,
            "timestamp": now,
            "integrations": {},
            "properties": {"price": event + 0.25, "sku": f"sku-{event}", "position": event, "currency": "EUR"},
            "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
            "messageId": f"{prefix}-{event}",
        }
        for event in range(batch)
    ]
    return json.dumps({"batch": events, "sentAt": now, "writeKey": "load"})


def _user(start: int, event: int) -> str:
    return f"u-{(start + event) * 7919 % _USERS}"


def requests(count: int, batch: int, first: int) -> list[bytes]:
    """So many requests, each with messages of its own."""
    made = list[bytes]()
    for number in range(count):
        body = body_of(batch, partial(_user, first + number * batch), f"{first}-{number}").encode()
        head = f"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


@dataclass(slots=True)
class Measured:
    """One run: seconds it took, milliseconds of each answer, answers other than 200."""

    seconds: float
    answers_ms: list[float]
    failed: int

    def percentile(self, part: float) -> float:
        """Milliseconds that such a part of the answers did not exceed."""
        return sorted(self.answers_ms)[min(len(self.answers_ms) - 1, int(part * len(self.answers_ms)))]


async def send_all(host: str, port: int, made: list[bytes], connections: int, per_second: float | None) -> Measured:
    """Send requests over some connections, at most so many a second; what is late counts from when it was due."""
    waiting, measured = iter(enumerate(made)), Measured(0.0, [], 0)
    begun = time.perf_counter()

    async def send() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for number, request in waiting:
            due = begun + number / per_second if per_second else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            measured.answers_ms.append((time.perf_counter() - due) * 1000)
            measured.failed += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(send() for _ in range(connections)))
    measured.seconds = time.perf_counter() - begun
    return measured


def _processor_seconds(data: Path) -> dict[str, float]:
    """Seconds of processor time that the processes of the cluster have taken, by what they are."""
    found = Counter[str]()
    for process in psutil.process_iter():
        try:
            words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
            used = process.cpu_times()
        except psutil.Error:
            continue
        if str(data) in words and "-m" in words:
            found[words[words.index("-m") + 1].rpartition(".")[2]] += used.user + used.system
    return found


@dataclass(frozen=True, slots=True)
class Run:
    """What is said of one run, whoever the client was."""

    events: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


def _run_ours(host: str, port: int, name: str, given: argparse.Namespace, rate: float | None) -> Run:
    count = given.events // given.batch // (10 if name == _WARM_UP else 1)
    made = requests(count, given.batch, len(name))
    done = asyncio.run(send_all(host, port, made, given.connections, rate))
    return Run(
        count * given.batch, done.seconds, statistics.median(done.answers_ms), done.percentile(0.99), done.failed
    )


def _run_wrk(host: str, port: int, name: str, given: argparse.Namespace, rate: float | None) -> Run:
    body = body_of(given.batch, lambda event: f"u-{event}-{USER_MARK}", MARK)
    seconds = max(1, given.seconds // (5 if name == _WARM_UP else 1))
    prefix = name.replace(" ", "-")
    done = run_wrk(host, port, body, prefix, given.connections, seconds, rate)
    return Run(done.requests * given.batch, done.seconds, done.p50_ms, done.p99_ms, done.failed)


def main() -> None:
    """Measure the most there is, then the delay of answers at half of the rate that is promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--events", type=int, default=400_000, help="of a run with our own client")
    parser.add_argument("--seconds", type=int, default=15, help="of a run with wrk")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--half-rate", type=int, default=20_000, help="events per second of the last run")
    parser.add_argument(
        "--client",
        choices=("wrk", "ours"),
        default="wrk" if has_wrk() else "ours",
        help="wrk, if it is installed; ours counts what is late from when it was due",
    )
    given = parser.parse_args()
    run = _run_wrk if given.client == "wrk" else _run_ours
    print(f"client: {given.client}, {given.connections} connections, batches of {given.batch}")
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as (host, port, router):
        for name, rate in (
            (_WARM_UP, None),
            ("as fast as it goes", None),
            ("at half", given.half_rate / given.batch),
        ):
            before = _processor_seconds(Path(folder))
            done = run(host, port, name, given, rate)
            print(
                f"{name:20} {done.events / done.seconds:10,.0f} events/s"
                f"   answers p50 {done.p50_ms:6.1f} ms, p99 {done.p99_ms:6.1f} ms   failed {done.failed}",
                flush=True,
            )
            spent = _processor_seconds(Path(folder))
            each = {what: (spent[what] - before[what]) / done.events * 1e6 for what in sorted(spent)}
            print(
                "    processor us/event: " + ", ".join(f"{what} {used:.1f}" for what, used in each.items() if used > 0)
            )
        with Client(router) as client:
            users = client.count('did("Product Viewed")')
            print(f"{'users with events':20} {users:10,}")


if __name__ == "__main__":
    main()
