"""Threads for the evaluation of questions: bounded in number, with a bounded queue, and none for callers that left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cdp_query.errors import QueryCancelled
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded, ShuttingDown
from cdp_router.limits import QUERIES_WAITING_MAX, QUERY_RETRY_AFTER_MS
from cdp_router.rpc.threaded_calls import Checkpoint, Work

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


class _Awaited(Work):
    """A piece of work whose result the event loop waits for."""

    __slots__ = ("_do", "_loop", "result")

    def __init__(self, do: Callable[[Checkpoint], Any], deadline: Deadline | None) -> None:
        super().__init__(math.inf if deadline is None else deadline.at)
        self._do, self._loop = do, asyncio.get_running_loop()
        self.result: asyncio.Future[Any] = self._loop.create_future()

    def run(self) -> None:
        """Does the work, and hands its result to the loop."""
        result: Any = None
        error: BaseException | None = None
        try:
            # The loop may have been too busy to withdraw what has become late.
            self.check()
            result = self._do(self.check)
        except BaseException as raised:  # noqa: BLE001 - border: whatever the work raises is its result
            error = raised
        try:
            self._loop.call_soon_threadsafe(_settle, self.result, result, error)
        except RuntimeError:
            pass  # the loop was closed: nobody awaits anything
        finally:
            del result, error  # an error holds this frame: nothing may be held in a circle


class QueryWorkers:
    """A bounded number of pieces of work at a time, and a bounded queue; first come, first served.

    Work comes from the event loop, with threads of its own, or from the threads that read pipes, which do it
    themselves. A thread that ends a piece takes the next one, whoever brought it. A piece under way counts to its end,
    even if its caller goes away meanwhile.
    """

    def __init__(self, threads: int, waiting_max: int = QUERIES_WAITING_MAX) -> None:
        self.size, self._waiting_max = threads, waiting_max
        self._threads = ThreadPoolExecutor(threads, "query")
        self._lock, self._ended = threading.Lock(), threading.Event()
        # All changed under the lock; threads that are called have not begun yet.
        self._waiting, self._running, self._called, self._is_closed = deque[Work](), 0, 0, False

    @property
    def waiting(self) -> int:
        """Number of pieces of work that wait for one under way to end."""
        return max(0, self._running + len(self._waiting) - self.size)

    async def run(
        self, work: Callable[[Checkpoint], Result], deadline: Deadline | None = None, *, begun: bool = False
    ) -> Result:
        """The result of work on a thread; it calls its checkpoint between steps and stops if that raises.

        Overloaded if too many wait, unless the work continues something `begun`; QueryCancelled if the deadline passes
        before a thread is free.
        """
        piece = _Awaited(work, deadline)
        self.admit(piece, begun=begun)
        timer, result = None, piece.result
        if deadline is not None and self.waiting:
            timer = asyncio.get_running_loop().call_later(deadline.remaining(), self._expire, piece)
        # In the queue first: a thread that is called finds at least this piece, or somebody else took or withdrew it.
        self._call_thread()
        try:
            return await result  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            # A thread cannot be interrupted: it stops at its next checkpoint, and only then is free again.
            piece.is_caller_gone = True
            self.withdraw(piece)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            del piece, result

    def admit(self, work: Work, *, begun: bool = False) -> None:
        """Takes work into the queue; Overloaded if too many wait, unless it continues something `begun`."""
        with self._lock:
            if self._is_closed:
                raise ShuttingDown
            if not begun and (waiting := self.waiting) >= self._waiting_max:
                raise Overloaded(f"{waiting} questions wait for a thread of the shard", QUERY_RETRY_AFTER_MS)
            self._waiting.append(work)

    def _call_thread(self) -> None:
        """Calls a thread, unless as many as may work do so or are called: each takes one piece after the other."""
        with self._lock:
            if self._running + self._called >= self.size:
                return
            self._called += 1
        self._threads.submit(self._begin)

    def _begin(self) -> None:
        with self._lock:
            self._called -= 1
        self.work_off()

    def work_off(self, call_help: Callable[[], None] = lambda: None) -> None:
        """Does what waits, on this thread, one piece after the other, while fewer than the bound are under way.

        Calls for another thread if there is room for one more piece that waits.
        """
        with self._lock:
            if self._running >= self.size or not self._waiting:
                return
            self._running += 1
            piece = self._waiting.popleft()
            has_room = self._running < self.size and bool(self._waiting)
        if has_room:
            call_help()
        while True:
            try:
                piece.run()
            except Exception:  # noqa: BLE001 - border: a thread goes on, whatever its work does
                _LOG.exception("a question ended outside of its own border")
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    if self._is_closed and not self._running:
                        self._ended.set()
                    return
                piece = self._waiting.popleft()

    def withdraw(self, work: Work) -> bool:
        """Takes work from the queue; False if a thread has begun it."""
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(work)
            return True
        return False

    def close(self) -> None:
        """Waits for work under way."""
        with self._lock:
            self._is_closed = True
            is_busy = self._running > 0
        self._threads.shutdown(wait=True)
        if is_busy:
            self._ended.wait()

    def _expire(self, piece: _Awaited) -> None:
        if self.withdraw(piece) and not piece.result.done():
            piece.result.set_exception(QueryCancelled("the deadline passed while the question waited for a thread"))


def _settle(awaited: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if awaited.done():
        return
    if error is None:
        awaited.set_result(result)
    else:
        awaited.set_exception(error)
