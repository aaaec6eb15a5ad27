"""Records sent in the background: put and forget, bounded, retried, flushed at the end of the program."""

from __future__ import annotations

import atexit
import logging
import os
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
    Waiting,
    WriterClosed,
    encode,
    identifiers_of,
)
from cdp_router.client.writing.outcomes import CallbackFailed, Outcomes, Tally, WriterBroken, log_problem

_LOG = logging.getLogger("cdp.client")


class Ingesting(Protocol):
    """What takes batches, such as a Client."""

    def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        """Make a batch durable, trying again for so long."""


class Writer:
    """Sends records of any number of threads, in batches, from a thread of its own.

    Every record carries a message id, and a batch is retried unchanged, so that nothing is taken twice. When the queue
    is full, `track` and `identify` wait, at most `wait_seconds`. What cannot be delivered is reported to `on_problem`,
    in the sending thread. What that raises is logged, and raised by the next `flush` or `close` (CallbackFailed).
    Should the thread end, every call raises WriterBroken. A writer belongs to its process: after a fork the child makes
    its own.
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
        self._client, self._outcomes, self._process = client, Outcomes(on_problem), os.getpid()
        self._linger, self._give_up, self._wait = linger_seconds, give_up_seconds, wait_seconds
        self._waiting = Waiting(queue_bytes, batch_records)
        self._changed = threading.Condition()
        self._closed = self._flushing = False
        self._sending = 0  # records of the batch under way
        self._unanswered = 0  # those of them of which nothing is known yet
        self._first_at = 0.0
        self._ended_by: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cdp-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (CallbackFailed, WriterBroken) as failure:
            if error is None:
                raise
            error.add_note(f"{type(failure).__name__}: {failure}")  # the error of the block matters more

    @property
    def tally(self) -> Tally:
        """What became of the records so far."""
        return self._outcomes.tally

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
        """Queue an event; `identifiers` are others of the person, by kind."""
        self._put(
            encode(name, properties or {}, user_id, anonymous_id, time, message_id, identifiers_of(email, identifiers))
        )

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
        """Queue a change of attributes; None unsets one. `identifiers` are others of the person, by kind."""
        self._put(
            encode(None, attributes or {}, user_id, anonymous_id, time, message_id, identifiers_of(email, identifiers))
        )

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Send what waits and wait until all of it has been answered; whether that came in time.

        Raises CallbackFailed for what `on_problem` raised since the last time, and WriterBroken where nothing is sent
        any more.
        """
        self._check_process()
        self._check_thread("flush")
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            is_done = self._changed.wait_for(
                lambda: self._ended_by is not None or not (self._waiting or self._sending), timeout_seconds
            )
            self._check_alive()
        if is_done:
            self._outcomes.raise_kept()
        return is_done

    def close(self) -> None:
        """Flush and stop; records put afterwards are refused. Raises what `flush` raises."""
        if os.getpid() != self._process:
            return  # nothing of the parent's is this process's to send
        self._check_thread("close")
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        atexit.unregister(self.close)
        self._check_alive()
        self._outcomes.raise_kept()

    def _put(self, record: Outgoing) -> None:
        self._check_process()
        # The sending thread, in on_problem, would wait for room that only itself can make.
        wait_seconds = 0.0 if threading.current_thread() is self._thread else self._wait
        with self._changed:
            roomy = self._changed.wait_for(
                lambda: self._closed or self._ended_by is not None or self._waiting.has_room(record), wait_seconds
            )
            self._check_alive()
            if self._closed:
                raise WriterClosed("the writer is closed")
            if not roomy:
                raise QueueFull(f"the queue had no room for {wait_seconds} s; the cluster is away or too slow")
            if not self._waiting:
                self._first_at = time.monotonic()
            self._waiting.put(record)
            self._changed.notify_all()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise WriterBroken("this writer belongs to the process that made it; make one after the fork")

    def _check_thread(self, call: str) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError(f"{call} cannot be called from on_problem: it would wait for itself")

    def _check_alive(self) -> None:
        if self._ended_by is not None:
            left = f"{len(self._waiting) + self._unanswered} records were not sent"
            raise WriterBroken(f"the sending thread ended by {self._ended_by!r}; {left}") from self._ended_by

    def _run(self) -> None:
        try:
            while (sending := self._next()) is not None:
                self._send(sending)
                with self._changed:
                    self._sending = 0
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # whatever it is, callers must not wait for ever
            _LOG.error("the sending thread of a writer ended", exc_info=error)
            with self._changed:
                self._ended_by = error
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
            self._first_at, self._sending = time.monotonic(), len(sending.message_ids)
            self._unanswered = self._sending
            self._flushing = self._flushing and bool(self._waiting)
            self._changed.notify_all()
            return sending

    def _send(self, sending: Sending) -> None:
        try:
            result = self._client.ingest(sending.batch, give_up_seconds=self._give_up)
        except Exception as error:  # noqa: BLE001  # any failure loses this batch alone, and is told
            self._unanswered = 0
            self._outcomes.lost(sending, error)
        else:
            self._unanswered = 0
            self._outcomes.answered(sending, result)
