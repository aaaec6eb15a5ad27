"""The tasks of a process that nobody waits for: each is held, watched and, where it is a loop, kept running.

This is the one place where tasks and threads are made. A bare task that fails says nothing and is never begun again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
Failed = Callable[[str], None]  # the name of what failed
Pause = Callable[[float], Awaitable[None]]
PAUSE_SECONDS: Final = 1.0  # after the first failure of a loop; twice as long after each one that follows soon
PAUSE_SECONDS_MAX: Final = 60.0  # a loop that ran so long is taken for sound again
_LOG = logging.getLogger(__name__)


def _uncounted(_: str) -> None:
    """Count nothing."""


class Background:
    """Loops that are begun again when they fail, and work that is begun once; what fails is logged and counted."""

    def __init__(self, failed: Failed = _uncounted, pause: Pause = asyncio.sleep) -> None:
        self._failed, self._pause = failed, pause
        self._loops, self._works = set[asyncio.Task[Any]](), set[asyncio.Task[Any]]()

    def keep(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a loop until `close`, and begin it again, after a pause, whenever it raises. One that returns is done."""
        _hold(self._loops, asyncio.create_task(self._kept(name, loop), name=name))

    def begin(
        self, name: str, work: Coroutine[Any, Any, Result], on_failure: Callable[[BaseException], None] | None = None
    ) -> asyncio.Task[Result]:
        """Begin work that nobody waits for; `on_failure` is told what it raised, where going on would be wrong."""
        task = asyncio.create_task(work, name=name)

        def ended(done: asyncio.Task[Result]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:
                self._note(name, error)
                if on_failure is not None:
                    on_failure(error)

        task.add_done_callback(ended)
        return _hold(self._works, task)

    async def close(self) -> None:
        """Cancel the loops, and wait for all that runs."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, *self._works, return_exceptions=True)

    async def _kept(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        clock, seconds = asyncio.get_running_loop(), PAUSE_SECONDS
        while True:
            task, began = asyncio.create_task(loop(), name=name), clock.time()
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
            error = task.exception()
            if error is None:
                return
            self._note(name, error)
            if clock.time() - began > PAUSE_SECONDS_MAX:
                seconds = PAUSE_SECONDS
            await self._pause(seconds)
            seconds = min(2 * seconds, PAUSE_SECONDS_MAX)

    def _note(self, name: str, error: BaseException) -> None:
        _LOG.error("%s failed: %s: %s", name, type(error).__name__, error, exc_info=error)
        self._failed(name)


def awaited(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Begin work whose maker waits for it, or cancels it, and takes what it raises."""
    return asyncio.create_task(work)


def begin_thread(name: str, work: Callable[[], None]) -> None:
    """Begin work on a thread of its own, which keeps no process from ending; what it raises is logged."""

    def watched() -> None:
        try:
            work()
        except Exception:
            _LOG.exception("%s failed", name)
            raise

    threading.Thread(target=watched, name=name, daemon=True).start()


def _hold(tasks: set[asyncio.Task[Any]], task: asyncio.Task[Result]) -> asyncio.Task[Result]:
    """Keep a task from being collected before it has ended."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
