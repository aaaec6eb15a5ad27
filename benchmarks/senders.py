"""Batches sent at a steady rate, by senders that do not wait for each other's acks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cdp.v1 import ingest_pb2

from cdp_router.client import Client

SENDERS: Final = 8  # one alone would wait for the ack of a batch before it offers the next


@contextmanager
def arriving(
    client: Client, batches: Sequence[ingest_pb2.Batch], batch_rows: int, events_per_second: int
) -> Iterator[list[float]]:
    """Batches arrive for the length of the block; what is yielded fills with the milliseconds of each ack."""
    stop, acks_ms = threading.Event(), list[float]()
    thread = threading.Thread(
        target=send_steadily, args=(client, batches, batch_rows, events_per_second, stop, acks_ms)
    )
    thread.start()
    try:
        yield acks_ms
    finally:
        stop.set()
        thread.join()


def send_steadily(
    client: Client,
    batches: Sequence[ingest_pb2.Batch],
    batch_rows: int,
    events_per_second: int,
    stop: threading.Event,
    acks_ms: list[float],
) -> None:
    """Send batches at their times, never ahead; when the cluster lags, as fast as it takes them from its senders."""
    began, numbered = time.perf_counter(), iter(enumerate(batches))

    def send() -> None:
        while not stop.is_set():
            with taking:
                following = next(numbered, None)
            if following is None:
                return
            number, batch = following
            due = began + number * batch_rows / events_per_second
            if stop.wait(max(due - time.perf_counter(), 0.0)):
                return
            sent = time.perf_counter()
            client.ingest(batch)
            acks_ms.append((time.perf_counter() - sent) * 1e3)

    taking = threading.Lock()
    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
