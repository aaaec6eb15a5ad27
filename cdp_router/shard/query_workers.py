"""Threads for the evaluation of questions: bounded in number, with a bounded queue, and none for callers that left."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from cdp_query.errors import QueryCancelled
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded
from cdp_router.limits import QUERIES_WAITING_MAX, QUERY_RETRY_AFTER_MS

Result = TypeVar("Result")
Checkpoint = Callable[[], None]


@dataclass(slots=True)
class _Stop:
    """Stops sign that work checks between its steps: the deadline has passed, or the caller has gone."""

    deadline: Deadline | None
    gone: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises QueryCancelled once the deadline has passed or the caller has gone away."""
        # Set on the event loop and read in the worker's thread; an Event needs no lock.
        if self.gone.is_set():
            raise QueryCancelled("the caller went away")
        if self.deadline is not None:
            self.deadline.check()


class QueryWorkers:
    """Threads with a bounded queue; first come, first served.

    A piece of work holds a place from its start to its end, even if its caller goes away meanwhile. Places and the
    queue change on the event loop only, so they need no lock.
    """

    def __init__(self, threads: int, waiting_max: int = QUERIES_WAITING_MAX) -> None:
        self._threads = ThreadPoolExecutor(threads, "query")
        self._free, self._waiting_max = threads, waiting_max
        self._waiting = deque[asyncio.Future[None]]()

    @property
    def waiting(self) -> int:
        """Number of pieces of work that wait for a thread."""
        return len(self._waiting)

    async def run(
        self, work: Callable[[Checkpoint], Result], deadline: Deadline | None = None, *, begun: bool = False
    ) -> Result:
        """The result of work on a thread; it calls its checkpoint between steps and stops if that raises.

        Overloaded if too many wait, unless the work continues something `begun`; QueryCancelled if the deadline passes
        before a thread is free.
        """
        await self._place(deadline, begun=begun)
        stop, loop = _Stop(deadline), asyncio.get_running_loop()
        future: Future[Result] = self._threads.submit(work, stop.check)
        # The callback runs in the worker's thread: the loop frees the place.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # The thread cannot be interrupted: it stops at its next checkpoint, and only then gives its place back.
            stop.gone.set()
            raise

    def close(self) -> None:
        """Waits for running work."""
        self._threads.shutdown(wait=True)

    async def _place(self, deadline: Deadline | None, *, begun: bool) -> None:
        if self._free:
            self._free -= 1
            return
        if not begun and len(self._waiting) >= self._waiting_max:
            raise Overloaded(f"{len(self._waiting)} questions wait for a thread of the shard", QUERY_RETRY_AFTER_MS)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            # Shielded: a wait that ends must not cancel `turn`, which `_release` may be about to set.
            await asyncio.wait_for(asyncio.shield(turn), None if deadline is None else deadline.remaining())
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise QueryCancelled("the deadline passed while the question waited for a thread") from error
            raise

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Leaves the queue; a place that was assigned at the same moment is passed on."""
        if turn.done():
            self._release()
        else:
            self._waiting.remove(turn)

    def _release(self) -> None:
        if self._waiting:
            # The place goes straight to the first in line and is never free, so nobody overtakes.
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1
