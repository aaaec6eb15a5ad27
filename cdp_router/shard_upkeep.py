"""What a shard does by itself: seal and compact, tidy up when idle, drop what retention wants dropped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from cdp_router.paced import Paced
from cdp_router.shard_commits import Commits
from cdp_store.errors import StoreFailed
from cdp_store.seams import Clock
from cdp_store.store import Store

_IDLE_SECONDS: Final = 1.0
_RETAIN_SECONDS: Final = 3600.0
_PURGE_SHARE: Final = 0.02  # of one core, for erasing few profiles again and again


class Upkeep:
    """Maintenance of one store, beside its reads and writes."""

    def __init__(self, store: Store, commits: Commits, clock: Clock) -> None:
        self._store, self._commits, self._clock = store, commits, clock
        self._thread = ThreadPoolExecutor(1, "maintain")
        self._purge = Paced(store.purge, _PURGE_SHARE, time.monotonic)
        self._maintaining: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._purging: asyncio.TimerHandle | None = None
        self._retaining: asyncio.Task[bool] | None = None
        self._next_retaining: asyncio.TimerHandle | None = None

    def maintain_soon(self) -> None:
        """Seal and compact where due, now and once nothing has arrived for a while."""
        self._start(self._store.maintain)
        self.settle_soon()

    def settle_soon(self) -> None:
        """Tidy up once nothing has arrived for a while."""
        if self._settling is not None:
            self._settling.cancel()
        loop = asyncio.get_running_loop()
        self._settling = loop.call_later(_IDLE_SECONDS, self._start, self._store.settle)

    async def purge_now(self) -> None:
        """Remove from memory what erased profiles and retention left there."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.purge)

    def retain_hourly(self) -> None:
        """Drop events that have grown older than their rule of retention wants, now and every hour."""
        loop = asyncio.get_running_loop()
        work = partial(self._store.retain, self._clock.now_ms())
        self._retaining = loop.create_task(self._commits.between(work))
        self._next_retaining = loop.call_later(_RETAIN_SECONDS, self.retain_hourly)

    def stop(self) -> None:
        """Begin nothing more."""
        for timer in (self._settling, self._purging, self._next_retaining):
            if timer is not None:
                timer.cancel()

    async def close(self) -> None:
        """Finish what is under way."""
        self.stop()
        for task in (self._maintaining, self._retaining):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    def _start(self, work: Callable[[], bool]) -> None:
        if self._maintaining is None or self._maintaining.done():
            self._maintaining = asyncio.create_task(self._run(work))

    async def _run(self, work: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._purge.run)
            await loop.run_in_executor(self._thread, work)
        except StoreFailed as error:
            self._commits.fail(error)
        if self._store.awaits_purge and self._purging is None:
            self._purging = loop.call_later(self._purge.seconds_left, self._purge_again)

    def _purge_again(self) -> None:
        self._purging = None
        self._start(self._store.maintain)
