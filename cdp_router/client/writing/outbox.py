"""State and decisions of a writer, without waiting and without I/O: the same for threads and for event loops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from cdp.v1 import ingest_pb2

from cdp_router.client.writing.batching import Outgoing, Problem, Sending, Waiting
from cdp_router.client.writing.outcomes import CallbackFailed, Outcomes, WriterBroken

_LOG = logging.getLogger("cdp.client")


class Outbox:
    """Records of one writer, from the queue to their answers.

    The writer holds its lock around every call except `answered` and `lost`, which call the application back. `carrier`
    names the sender: a thread or a task. Instants are seconds of a monotonic clock.
    """

    def __init__(
        self,
        carrier: str,
        queue_bytes: int,
        batch_records: int,
        linger_seconds: float,
        on_problem: Callable[[Problem], None],
    ) -> None:
        self._carrier, self._linger, self._process = carrier, linger_seconds, os.getpid()
        self.outcomes, self.waiting = Outcomes(on_problem), Waiting(queue_bytes, batch_records)
        self.closed = self._flushing = False
        self._sending = 0  # records of the batch in flight
        self._unanswered = 0  # those of them whose outcome is unknown so far
        self._first_at = 0.0
        self._ended_by: BaseException | None = None

    @property
    def is_own(self) -> bool:
        """True if this process made the writer."""
        return os.getpid() == self._process

    def check_process(self) -> None:
        """Raises WriterBroken in any process other than the writer's."""
        if not self.is_own:
            raise WriterBroken("this writer belongs to the process that made it; make one after the fork")

    def check_alive(self) -> None:
        """Raises WriterBroken once nothing is sent any more."""
        if self._ended_by is not None:
            left = f"{len(self.waiting) + self._unanswered} records were not sent"
            raise WriterBroken(f"the sending {self._carrier} ended by {self._ended_by!r}; {left}") from self._ended_by

    def check_all_sent(self) -> None:
        """Raises WriterBroken, or CallbackFailed for exceptions of `on_problem` since the last call."""
        self.check_alive()
        self.outcomes.raise_kept()

    def check_block(self, error: BaseException | None) -> None:
        """Does the same at the end of a `with` block, whose own error matters more and gets a note."""
        try:
            self.check_all_sent()
        except (CallbackFailed, WriterBroken) as failure:
            if error is None:
                raise
            error.add_note(f"{type(failure).__name__}: {failure}")

    def may_put(self, record: Outgoing) -> bool:
        """True if a record need not wait any longer: there is room, or the writer is closed or has ended."""
        return self.closed or self._ended_by is not None or self.waiting.has_room(record)

    def put(self, record: Outgoing, now: float) -> None:
        """Queues a record."""
        if not self.waiting:
            self._first_at = now
        self.waiting.put(record)

    def flush(self) -> None:
        """Makes waiting records leave at once."""
        self._flushing = True

    def is_flushed(self) -> bool:
        """True if everything has been answered or given up, or the sending has ended."""
        return self._ended_by is not None or not (self.waiting or self._sending)

    def has_work(self) -> bool:
        """True if the sender need not wait: there is something to send, or the writer is closed."""
        return bool(self.waiting) or self.closed

    def linger_seconds(self, now: float) -> float:
        """Seconds that waiting records may wait for more."""
        return max(0.0, self._first_at + self._linger - now)

    def is_due(self) -> bool:
        """True if waiting records are to be sent at once: they fill a batch, or a flush or close requires it."""
        return self.waiting.is_batch() or self._flushing or self.closed

    def next_sending(self, now: float) -> Sending:
        """The next batch, which must not be empty."""
        sending = self.waiting.drain()
        self._first_at, self._sending = now, len(sending.message_ids)
        self._unanswered = self._sending
        self._flushing = self._flushing and bool(self.waiting)
        return sending

    def answered(self, sending: Sending, result: ingest_pb2.BatchResult) -> None:
        """Counts and reports the outcomes of a batch."""
        self._unanswered = 0
        self.outcomes.answered(sending, result)

    def lost(self, sending: Sending, error: Exception) -> None:
        """Counts and reports a batch that was given up."""
        self._unanswered = 0
        self.outcomes.lost(sending, error)

    def sent(self) -> None:
        """Notes that no batch is in flight any more."""
        self._sending = 0

    def ended(self, error: BaseException) -> None:
        """Notes that the sender ended unexpectedly."""
        _LOG.error("the sending %s of a writer ended", self._carrier, exc_info=error)
        self._ended_by = error
