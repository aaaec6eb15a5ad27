"""Threads for the evaluation of questions: bounded in number, with a bounded queue, and none for callers that left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from cdp_query.errors import QueryCancelled
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded, ShuttingDown
from cdp_router.limits import QUERIES_WAITING_MAX, QUERY_RETRY_AFTER_MS

Result = TypeVar("Result")
Checkpoint = Callable[[], None]


@dataclass(slots=True, eq=False)
class _Work:
    """A piece of work, and its stop sign: the deadline has passed, or the caller has gone."""

    do: Callable[[Checkpoint], Any]
    deadline: Deadline | None
    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[Any]
    is_caller_gone: bool = False  # set on the event loop, read in the worker's thread: one flag needs no lock

    def check(self) -> None:
        """Raises QueryCancelled once the deadline has passed or the caller has gone away."""
        if self.is_caller_gone:
            raise QueryCancelled("the caller went away")
        if self.deadline is not None:
            self.deadline.check()


class QueryWorkers:
    """Threads with a bounded queue; first come, first served.

    A thread that ends a piece of work takes the next one by itself; the event loop only hands the results out. A piece
    of work is counted from its coming to its end, even if its caller goes away meanwhile. The count changes on the
    event loop only. The queue is a deque: threads take from its one end while the loop adds at the other or removes
    work that nobody awaits any longer, and each of these is one step.
    """

    def __init__(self, threads: int, waiting_max: int = QUERIES_WAITING_MAX) -> None:
        self._size, self._waiting_max = threads, waiting_max
        self._threads = ThreadPoolExecutor(threads, "query")
        self._waiting, self._count = deque[_Work](), 0
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Number of pieces of work that wait for a thread."""
        return max(0, self._count - self._size)

    async def run(
        self, work: Callable[[Checkpoint], Result], deadline: Deadline | None = None, *, begun: bool = False
    ) -> Result:
        """The result of work on a thread; it calls its checkpoint between steps and stops if that raises.

        Overloaded if too many wait, unless the work continues something `begun`; QueryCancelled if the deadline passes
        before a thread is free.
        """
        if self._is_closed:
            raise ShuttingDown
        if not begun and self.waiting >= self._waiting_max:
            raise Overloaded(f"{self.waiting} questions wait for a thread of the shard", QUERY_RETRY_AFTER_MS)
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        piece = _Work(work, deadline, loop, result)
        timer = None
        if deadline is not None and self._count >= self._size:
            timer = loop.call_later(deadline.remaining(), self._expire, piece)
        self._count += 1
        # In the queue first: a thread that is called finds at least this piece, or somebody else took or withdrew it.
        self._waiting.append(piece)
        self._threads.submit(self._serve)
        try:
            return await result
        except asyncio.CancelledError:
            # A thread cannot be interrupted: it stops at its next checkpoint, and only then is free again.
            piece.is_caller_gone = True
            self._withdraw(piece)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            del piece, result

    def close(self) -> None:
        """Waits for running work."""
        self._is_closed = True
        self._threads.shutdown(wait=True)

    def _expire(self, piece: _Work) -> None:
        if self._withdraw(piece) and not piece.result.done():
            piece.result.set_exception(QueryCancelled("the deadline passed while the question waited for a thread"))

    def _withdraw(self, piece: _Work) -> bool:
        """Takes work from the queue; False if a thread has begun it."""
        try:
            self._waiting.remove(piece)
        except ValueError:
            return False
        self._count -= 1
        return True

    def _serve(self) -> None:
        """Does the first piece in the queue, on a thread; it may have been withdrawn meanwhile."""
        try:
            piece = self._waiting.popleft()
        except IndexError:
            return
        result: Any = None
        error: BaseException | None = None
        try:
            # The loop may have been too busy to withdraw what has become late.
            piece.check()
            result = piece.do(piece.check)
        except BaseException as raised:  # noqa: BLE001 - border: whatever the work raises is its result
            error = raised
        try:
            piece.loop.call_soon_threadsafe(self._ended, piece.result, result, error)
        except RuntimeError:
            pass  # the loop was closed: nobody awaits anything
        finally:
            del piece, result, error  # an error holds this frame: nothing may be held in a circle

    def _ended(self, awaited: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._count -= 1
        if awaited.done():
            return
        if error is None:
            awaited.set_result(result)
        else:
            awaited.set_exception(error)
