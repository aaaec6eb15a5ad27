"""Records sent in the background: put and forget, bounded, retried, flushed at the end of the program."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from cdp.v1 import ingest_pb2

from cdp_router.client.batching import (
    BATCH_RECORDS_DEFAULT,
    GIVE_UP_SECONDS_DEFAULT,
    LINGER_SECONDS_DEFAULT,
    QUEUE_BYTES_DEFAULT,
    Lost,
    Outgoing,
    Problem,
    QueueFull,
    Rejected,
    Sending,
    Tally,
    Waiting,
    WriterClosed,
    encode,
)
from cdp_router.client.failures import ClusterUnreachable, RequestFailed

_LOG = logging.getLogger("cdp.client")


class Ingesting(Protocol):
    """What takes batches, such as a Client."""

    def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        """Make a batch durable, trying again for so long."""


def log_problem(problem: Problem) -> None:
    """Log a record that was rejected or breaks a rule, or records that were lost."""
    if isinstance(problem, Lost):
        _LOG.error("%d records were lost: %s", len(problem.message_ids), problem.error)
    else:
        what = "was rejected" if isinstance(problem, Rejected) else "breaks a rule"
        _LOG.warning("record %s %s: %s: %s", problem.message_id, what, problem.code, problem.message)


class Writer:
    """Sends records of any number of threads, in batches, from a thread of its own.

    Every record carries a message id, and a batch is retried unchanged, so that nothing is taken twice. When the queue
    is full, `track` and `identify` wait, at most `wait_seconds`. What cannot be delivered is told to `on_problem`.
    """

    def __init__(
        self,
        client: Ingesting,
        *,
        queue_bytes: int = QUEUE_BYTES_DEFAULT,
        batch_records: int = BATCH_RECORDS_DEFAULT,
        linger_seconds: float = LINGER_SECONDS_DEFAULT,
        give_up_seconds: float = GIVE_UP_SECONDS_DEFAULT,
        wait_seconds: float | None = None,
        on_problem: Callable[[Problem], None] = log_problem,
    ) -> None:
        self._client, self._on_problem = client, on_problem
        self._linger, self._give_up, self._wait = linger_seconds, give_up_seconds, wait_seconds
        self._waiting = Waiting(queue_bytes, batch_records)
        self._changed = threading.Condition()
        self._closed = self._flushing = self._sending = False
        self._first_at = 0.0
        self.tally = Tally()
        self._thread = threading.Thread(target=self._run, name="cdp-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def track(
        self,
        name: str,
        user_id: str = "",
        properties: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue an event."""
        self._put(encode(name, properties or {}, user_id, anonymous_id, time, message_id))

    def identify(
        self,
        user_id: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue a change of attributes; None unsets one."""
        self._put(encode(None, attributes or {}, user_id, anonymous_id, time, message_id))

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Send what waits and wait until all of it has been answered; whether that came in time."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._sending, timeout_seconds)

    def close(self) -> None:
        """Flush and stop; records put afterwards are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        atexit.unregister(self.close)

    def _put(self, record: Outgoing) -> None:
        with self._changed:
            roomy = self._changed.wait_for(lambda: self._closed or self._waiting.has_room(record), self._wait)
            if self._closed:
                raise WriterClosed("the writer is closed")
            if not roomy:
                raise QueueFull(f"the queue had no room for {self._wait} s; the cluster is away or too slow")
            if not self._waiting:
                self._first_at = time.monotonic()
            self._waiting.put(record)
            self._changed.notify_all()

    def _run(self) -> None:
        while (sending := self._next()) is not None:
            self._send(sending)
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _next(self) -> Sending | None:
        """The next batch once it is large or old enough, or somebody flushes; None when all is sent and closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting:
                return None
            linger = max(0.0, self._first_at + self._linger - time.monotonic())
            self._changed.wait_for(lambda: self._waiting.is_batch() or self._flushing or self._closed, linger)
            sending = self._waiting.take()
            self._first_at, self._sending = time.monotonic(), True
            self._flushing = self._flushing and bool(self._waiting)
            self._changed.notify_all()
            return sending

    def _send(self, sending: Sending) -> None:
        try:
            result = self._client.ingest(sending.batch, give_up_seconds=self._give_up)
        except (RequestFailed, ClusterUnreachable, ValueError) as error:  # ValueError: the client was closed before
            self.tally.lost += len(sending.message_ids)
            self._on_problem(Lost(sending.message_ids, error))
            return
        self.tally.accepted += result.accepted
        self.tally.duplicates += result.duplicates
        self.tally.rejected += len(result.errors)
        self.tally.quarantined += result.quarantined
        for problem in sending.problems(result):
            self._on_problem(problem)
