"""Partitions move under 20,000 events and 20 questions a second; nothing may fail, and no answer may be wrong."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from cdp.v1 import ingest_pb2, query_pb2

from benchmarks.cluster import running_cluster
from benchmarks.generate import DEFAULT_CACHE, generate
from benchmarks.ours import record_batches, send_all
from benchmarks.scales import AS_OF_MS, SCALES
from cdp_router.client import Client, ClusterUnreachable, RequestFailed

EVENTS_PER_SECOND: Final = 20_000
QUESTIONS_PER_SECOND: Final = 20
_BATCH_ROWS: Final = 500
_USERS: Final = 5_000
_SENDERS: Final = 6  # that wait for their acks one by one
_ASKERS: Final = 4  # likewise for their answers
_QUESTIONS: Final = (
    'count("Charged", last: 180d) >= 2',
    'plan = "gold" and not did("App Launched", last: 30d)',
    'sum("Charged".amount) > 100',
)


@dataclass(slots=True)
class Counted:
    """What happened: milliseconds of what went well, and what did not."""

    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """For people and for files."""
        took = np.array(self.milliseconds or [0.0])
        return {
            "done": len(self.milliseconds),
            "failed": len(self.failed),
            "wrong": len(self.wrong),
            "p50_ms": round(float(np.percentile(took, 50)), 1),
            "p99_ms": round(float(np.percentile(took, 99)), 1),
            "max_ms": round(float(took.max()), 1),
            "problems": (self.failed + self.wrong)[:3],
        }


class Load:
    """Threads that send and ask at fixed rates until told to stop."""

    def __init__(self, address: str) -> None:
        self._address, self._stop = address, threading.Event()
        self.sent, self.asked = Counted(), Counted()
        self._expected = dict[str, int]()
        self._begun = self._acked = 0  # batches of arriving events
        self._counting = threading.Lock()

    def learn(self) -> None:
        """Ask each question once, while nothing moves and nothing arrives."""
        with Client(self._address) as client:
            self._expected = {text: client.query(_request(text)).count for text in _QUESTIONS}

    def run(self, work: Callable[[Client], int]) -> int:
        """What `work` gives, done under load."""
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(_SENDERS)]
        threads += [threading.Thread(target=self._ask, args=(number,)) for number in range(_ASKERS)]
        for thread in threads:
            thread.start()
        try:
            with Client(self._address) as client:
                return work(client)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _send(self, sender: int) -> None:
        with Client(self._address) as client:
            for tick in self._ticks(_SENDERS * _BATCH_ROWS / EVENTS_PER_SECOND):
                number = tick * _SENDERS + sender
                batch = _arriving(number)
                with self._counting:
                    self._begun += 1
                began = time.perf_counter()
                try:
                    result = client.ingest(batch)
                except (ClusterUnreachable, RequestFailed) as error:
                    self.sent.failed.append(str(error))
                    continue
                self.sent.milliseconds.append((time.perf_counter() - began) * 1e3)
                if (result.accepted, result.duplicates) != (_BATCH_ROWS, 0):
                    self.sent.wrong.append(f"batch {number}: {result.accepted} taken, {result.duplicates} known")
                with self._counting:
                    self._acked += 1

    def _ask(self, asker: int) -> None:
        texts = (*_QUESTIONS, None)
        with Client(self._address) as client:
            for tick in self._ticks(_ASKERS / QUESTIONS_PER_SECOND):
                text, acked, began = texts[(tick + asker) % len(texts)], self._acked, time.perf_counter()
                try:
                    answer = client.query(_request(text or 'trend("Arriving", unit: month)'))
                except (ClusterUnreachable, RequestFailed) as error:
                    self.asked.failed.append(str(error))
                    continue
                self.asked.milliseconds.append((time.perf_counter() - began) * 1e3)
                self._judge(text, answer, acked)

    def _judge(self, text: str | None, answer: query_pb2.QueryResponse, acked: int) -> None:
        """A question about what does not change has one answer; what arrives is there once it was acknowledged."""
        if text is not None and answer.count != self._expected[text]:
            self.asked.wrong.append(f"{text}: {answer.count} instead of {self._expected[text]}")
        if text is None:
            events = sum(row.events for row in answer.trend.rows)
            if not acked * _BATCH_ROWS <= events <= self._begun * _BATCH_ROWS:
                self.asked.wrong.append(f"{events} events, {acked * _BATCH_ROWS} were acknowledged before")

    def _ticks(self, seconds: float) -> Any:
        began = time.perf_counter()
        for number in itertools.count():
            if self._stop.wait(max(0.0, began + number * seconds - time.perf_counter())):
                return
            yield number


def _request(text: str) -> query_pb2.QueryRequest:
    request = query_pb2.QueryRequest(text=text)
    request.as_of.FromMilliseconds(AS_OF_MS)
    return request


def _arriving(number: int) -> ingest_pb2.Batch:
    """A batch of events that no question about the data set asks for, of users that are in it."""
    first = number * _BATCH_ROWS
    rows = [
        ("Arriving", f"u{n % _USERS}", None, AS_OF_MS - 1 - n % 1000, f"arriving-{n}", {"n": n})
        for n in range(first, first + _BATCH_ROWS)
    ]
    return ingest_pb2.Batch(batch_id=b"arriving %d" % number, msgpack_rows=msgspec.msgpack.encode(rows))


def _move_until(client: Client, deadline: float, shards: Sequence[int]) -> int:
    """Move one partition after the other to the other shard; how many came there."""
    moved = 0
    while time.monotonic() < deadline:
        for placed in client.placements().placements:
            if time.monotonic() > deadline:
                break
            target = next(shard for shard in shards if shard != placed.shard)
            client.move(placed.partition, target)
            while client.placements().moves:
                time.sleep(0.05)
            moved += 1
    return moved


def main() -> int:
    """Load a scale, then move under load; 1 when anything failed or was wrong."""
    parser = argparse.ArgumentParser(description="Moves of partitions under load.")
    parser.add_argument("--scale", choices=sorted(SCALES), default="S")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    given = parser.parse_args()
    dataset = generate(SCALES[given.scale], cache=given.cache)
    with tempfile.TemporaryDirectory() as folder, running_cluster(Path(folder) / "data", 2) as address:
        with Client(address) as client:
            send_all(client, record_batches(dataset))
            client.snapshot()  # so that the first move does not wait for one of everything
        load = Load(address)
        load.learn()
        began = time.monotonic()
        moved = load.run(lambda client: _move_until(client, began + given.seconds, (0, 1)))
        seconds = time.monotonic() - began
    rate = round(len(load.sent.milliseconds) * _BATCH_ROWS / seconds)
    told = {"scale": given.scale, "moves": moved, "seconds": round(seconds, 1), "events_per_second": rate}
    print(json.dumps({**told, "ingest": load.sent.told(), "questions": load.asked.told()}, indent=2))
    return 1 if any((load.sent.failed, load.sent.wrong, load.asked.failed, load.asked.wrong)) else 0


if __name__ == "__main__":
    sys.exit(main())
