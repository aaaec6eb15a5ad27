"""Records sent in the background: queued, bounded, retried, flushed at the end of the program."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from cdp.v1 import ingest_pb2

from cdp_router.client.writing.batching import (
    BATCH_RECORDS_DEFAULT,
    GIVE_UP_SECONDS_DEFAULT,
    LINGER_SECONDS_DEFAULT,
    QUEUE_BYTES_DEFAULT,
    Outgoing,
    Problem,
    QueueFull,
    Sending,
    WriterClosed,
    encode,
)
from cdp_router.client.writing.outbox import Outbox
from cdp_router.client.writing.outcomes import Tally, log_problem


class Ingesting(Protocol):
    """Destination of batches, such as a Client."""

    def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        """Makes a batch durable, with retries up to this time."""


class Writer:
    """Sends records of any number of threads, in batches, from a thread of its own.

    Every record carries a message id, and a batch is retried unchanged, so that no record is accepted twice. When the
    queue is full, `track` and `identify` wait, at most `wait_seconds`. Records that cannot be delivered are reported to
    `on_problem`, in the sending thread. Its exceptions are logged, and raised by the next `flush` or `close`
    (CallbackFailed). If the thread ends, every call raises WriterBroken. A writer belongs to its process: after a fork
    the child makes its own.
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
        self._client, self._give_up, self._wait = client, give_up_seconds, wait_seconds
        self._outbox = Outbox("thread", queue_bytes, batch_records, linger_seconds, on_problem)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="cdp-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop():
            self._outbox.check_block(error)

    @property
    def tally(self) -> Tally:
        """Counts of the records answered or given up so far, by outcome."""
        return self._outbox.outcomes.tally

    def track(
        self,
        name: str,
        user_id: str = "",
        properties: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        email: str = "",
        identifiers: Mapping[str, str] | None = None,
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queues an event; `identifiers` are others of the person, by kind."""
        self._put(encode(name, properties, user_id, anonymous_id, time, message_id, email, identifiers))

    def identify(
        self,
        user_id: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        email: str = "",
        identifiers: Mapping[str, str] | None = None,
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queues a change of attributes; None unsets one. `identifiers` are others of the person, by kind."""
        self._put(encode(None, attributes, user_id, anonymous_id, time, message_id, email, identifiers))

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Sends waiting records and waits until all have been answered; False if the time ran out first.

        Raises CallbackFailed for exceptions of `on_problem` since the last call, and WriterBroken where nothing is sent
        any more.
        """
        self._outbox.check_process()
        self._check_thread("flush")
        with self._changed:
            self._outbox.flush()
            self._changed.notify_all()
            is_done = self._changed.wait_for(self._outbox.is_flushed, timeout_seconds)
            self._outbox.check_alive()
        if is_done:
            self._outbox.outcomes.raise_kept()
        return is_done

    def close(self) -> None:
        """Flushes and stops; later records are refused. Raises the errors of `flush`."""
        if self._stop():
            self._outbox.check_all_sent()

    def _stop(self) -> bool:
        """Flushes and stops; False in another process, which must not send the parent's records."""
        if not self._outbox.is_own:
            return False
        self._check_thread("close")
        with self._changed:
            self._outbox.closed = True
            self._changed.notify_all()
        self._thread.join()
        atexit.unregister(self.close)
        return True

    def _put(self, record: Outgoing) -> None:
        self._outbox.check_process()
        # In on_problem, the sending thread would wait for room that only it can make.
        wait_seconds = 0.0 if threading.current_thread() is self._thread else self._wait
        with self._changed:
            roomy = self._changed.wait_for(lambda: self._outbox.may_put(record), wait_seconds)
            self._outbox.check_alive()
            if self._outbox.closed:
                raise WriterClosed("the writer is closed")
            if not roomy:
                raise QueueFull(f"the queue had no room for {wait_seconds} s; the cluster is away or too slow")
            self._outbox.put(record, time.monotonic())
            self._changed.notify_all()

    def _check_thread(self, call: str) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError(f"{call} cannot be called from on_problem: it would wait for itself")

    def _run(self) -> None:
        try:
            while (sending := self._next()) is not None:
                self._send(sending)
                with self._changed:
                    self._outbox.sent()
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 # whatever it is, callers must not wait for ever
            with self._changed:
                self._outbox.ended(error)
                self._changed.notify_all()

    def _next(self) -> Sending | None:
        """The next batch once it is large or old enough, or a caller flushes; None when all is sent and closed."""
        with self._changed:
            self._changed.wait_for(self._outbox.has_work)
            if not self._outbox.waiting:
                return None
            self._changed.wait_for(self._outbox.is_due, self._outbox.linger_seconds(time.monotonic()))
            sending = self._outbox.next_sending(time.monotonic())
            self._changed.notify_all()
            return sending

    def _send(self, sending: Sending) -> None:
        try:
            result = self._client.ingest(sending.batch, give_up_seconds=self._give_up)
        except Exception as error:  # noqa: BLE001 # any failure loses only this batch, and is reported
            self._outbox.lost(sending, error)
        else:
            self._outbox.answered(sending, result)
