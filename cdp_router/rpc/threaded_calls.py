"""Calls that a thread answers from beginning to end: the steps of the chain, without an event loop.

For methods that only compute, called by processes that have proved themselves. The thread that reads such a call
answers it, so that nothing is handed over and no task, future or timer is made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from cdp_query.errors import QueryCancelled
from cdp_router.contract.status import grpc_code, status_of, trailing
from cdp_router.errors import DeadlineMissed
from cdp_router.limits import SHARD_MESSAGE_BYTES_MAX
from cdp_router.rpc.call import REQUEST_ID, begin, resume
from cdp_router.rpc.chain import LATE, Method, Observer, told_seconds
from cdp_router.rpc.pipe_frames import CallHead, Kind, to_failure, to_frame

Checkpoint = Callable[[], None]
Answer = Callable[[int, bytes], None]  # number of a call, and its frame; an empty one if nobody waits for it


class Work:
    """A piece of work for a thread, and its stop sign: its time is up, or its caller has gone."""

    __slots__ = ("is_caller_gone", "until")

    def __init__(self, until: float) -> None:
        """`until` is a moment of the monotonic clock."""
        self.until = until
        self.is_caller_gone = False  # one flag, set by one thread and read by another, needs no lock

    def check(self) -> None:
        """Raises QueryCancelled once the time is up or the caller has gone away."""
        if self.is_caller_gone:
            raise QueryCancelled("the caller went away")
        if time.monotonic() >= self.until:
            raise QueryCancelled(LATE)

    def run(self) -> None:
        """Does the work, on the thread that calls this; never raises."""
        raise NotImplementedError


class Workers(Protocol):
    """A bounded number of pieces of work at a time, with a bounded queue."""

    def admit(self, work: Work) -> None:
        """Takes work into the queue; Overloaded or ShuttingDown if it cannot be done."""

    def work_off(self, call_help: Callable[[], None]) -> None:
        """Does what waits, on this thread, while there is room; calls for another one if there is room for more."""

    def withdraw(self, work: Work) -> bool:
        """Takes work from the queue; False if a thread has begun it."""


class ThreadedCall(Work):
    """One call of a method, whose handler is a function of the request and a checkpoint to call between two steps."""

    __slots__ = ("_answer", "_call", "_message", "_method", "_observers", "number")

    def __init__(
        self,
        number: int,
        method: Method,
        head: CallHead,
        message: bytes,
        observers: Sequence[Observer],
        answer: Answer,
    ) -> None:
        """Begins the call: its observers are informed."""
        started = time.monotonic()
        super().__init__(started + min(told_seconds(head.seconds), method.bounds.seconds or math.inf))
        self.number, self._method, self._message, self._answer = number, method, message, answer
        self._observers = observers
        self._call = call = begin(method.service, method.name, head.metadata, started)
        for observer in observers:
            observer.began(call, head.metadata)  # type: ignore[arg-type]

    def run(self) -> None:
        """Answers the call."""
        resume(self._call)
        try:
            self.check()
            handler = self._method.handler
            answer = handler.unary_unary(self._method.read(self._message), self.check)
            payload = handler.response_serializer(answer)
        except BaseException as error:  # noqa: BLE001 - border: whatever the work raises is its result
            self.fail(error)
            return
        if len(payload) > SHARD_MESSAGE_BYTES_MAX:
            problem = f"an answer of {len(payload)} bytes; the limit is {SHARD_MESSAGE_BYTES_MAX}"
            frame = to_frame(Kind.FAILURE, self.number, to_failure(grpc.StatusCode.RESOURCE_EXHAUSTED, problem))
        else:
            frame = to_frame(Kind.ANSWER, self.number, payload)
        self._end(grpc.StatusCode.OK, frame)

    def fail(self, error: BaseException) -> None:
        """Ends the call with an error; one whose caller has gone gets no answer."""
        if self.is_caller_gone:
            self.stop()
            return
        if isinstance(error, QueryCancelled):
            error = DeadlineMissed(LATE)
        told = error if isinstance(error, Exception) else RuntimeError(repr(error))
        status = status_of(told, self._call.request_id)
        code, metadata = grpc_code(status), trailing(status, (REQUEST_ID, self._call.request_id))
        self._end(code, to_frame(Kind.FAILURE, self.number, to_failure(code, status.message, metadata)))

    def stop(self) -> None:
        """Ends the call of a caller that has gone."""
        is_late = time.monotonic() >= self.until
        self._end(grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED, b"")

    def _end(self, code: grpc.StatusCode, frame: bytes) -> None:
        self._answer(self.number, frame)
        call = self._call
        call.code = code
        seconds = time.monotonic() - call.started
        for observer in self._observers:
            observer.ended(call, seconds)
