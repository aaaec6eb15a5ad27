"""Outcomes of a writer's records: counted, and reported to the caller's callback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cdp.v1 import ingest_pb2

from cdp_router.client.writing.batching import Lost, Problem, Rejected, Sending
from cdp_router.printable import count_of

_LOG = logging.getLogger("cdp.client")


class CallbackFailed(Exception):
    """`on_problem` raised; the cause is its first exception. Records were sent all the same."""

    def __init__(self, times: int, first: Exception) -> None:
        often = "once" if times == 1 else f"{times} times"
        super().__init__(f"on_problem raised {often}, first {first!r}; records were sent all the same")


class WriterBroken(Exception):
    """The writer cannot send any more; the cause, if any, is the error that ended it."""


@dataclass(slots=True)
class Tally:
    """Counts of a writer's records by outcome; `lost` are those given up, which may have been accepted."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    lost: int = 0
    quarantined: int = 0


def log_problem(problem: Problem) -> None:
    """Logs a record that was rejected or breaks a rule, or records that were lost."""
    if isinstance(problem, Lost):
        _LOG.error("%s lost: %s", count_of(len(problem.message_ids), "record was", "records were"), problem.error)
    else:
        what = "was rejected" if isinstance(problem, Rejected) else "breaks a rule"
        _LOG.warning("record %s %s: %s: %s", problem.message_id, what, problem.code, problem.message)


class Outcomes:
    """Counts outcomes of batches and reports them to `on_problem`.

    An exception of `on_problem` is logged and kept, and ends nothing.
    """

    def __init__(self, on_problem: Callable[[Problem], None]) -> None:
        self._on_problem = on_problem
        self._first: Exception | None = None
        self._times = 0
        self.tally = Tally()

    def answered(self, sending: Sending, result: ingest_pb2.BatchResult) -> None:
        """Counts an answered batch, and reports its problems."""
        self.tally.accepted += result.accepted
        self.tally.duplicates += result.duplicates
        self.tally.rejected += len(result.errors)
        self.tally.quarantined += result.quarantined
        for problem in sending.problems(result):
            self._tell(problem)

    def lost(self, sending: Sending, error: Exception) -> None:
        """Counts and reports a batch that was given up."""
        self.tally.lost += len(sending.message_ids)
        self._tell(Lost(sending.message_ids, error))

    def raise_kept(self) -> None:
        """Raises CallbackFailed for exceptions of `on_problem` since the last call."""
        first, times = self._first, self._times
        self._first, self._times = None, 0
        if first is not None:
            raise CallbackFailed(times, first) from first

    def _tell(self, problem: Problem) -> None:
        try:
            self._on_problem(problem)
        except Exception as error:  # noqa: BLE001  # the caller's code must not stop the sending
            _LOG.exception("on_problem raised; records are sent all the same")
            self._first, self._times = self._first or error, self._times + 1
