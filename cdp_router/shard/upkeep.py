"""Work that a shard does by itself: seal and compact, tidy up when idle, drop events by retention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from cdp_router.background import PAUSE_SECONDS, Background
from cdp_router.paced import Paced
from cdp_router.shard.commits import Commits
from cdp_store.errors import StoreFailed
from cdp_store.outside.seams import Clock
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store

_IDLE_SECONDS: Final = 1.0
_RETAIN_SECONDS: Final = 3600.0
_PURGE_SHARE: Final = 0.02  # of one core, for purging few erased profiles again and again


class Upkeep:
    """Maintenance of one store, alongside its reads and writes."""

    def __init__(self, store: Store, commits: Commits, clock: Clock, background: Background | None = None) -> None:
        self._store, self._commits, self._clock = store, commits, clock
        self._background = background or Background()
        # A partition allows one maintenance or purge at a time, alongside reads and writes.
        self._thread = ThreadPoolExecutor(1, "maintain")
        self._purge = Paced(store.purge, _PURGE_SHARE, time.monotonic)
        self._maintaining: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._purging: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._rests_until = 0.0  # after a failure, so that it is not tried again with every batch

    def maintain_soon(self) -> None:
        """Seals and compacts if due, now and once nothing has arrived for a while."""
        self._start(self._store.maintain)
        self.settle_soon()

    def settle_soon(self) -> None:
        """Tidies up once nothing has arrived for a while."""
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._later(_IDLE_SECONDS, self._start, self._store.settle)

    async def purge_now(self) -> None:
        """Removes the remains of erased profiles and retention from memory."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.purge)

    def retain_hourly(self) -> None:
        """Drops events that are older than their rule of retention allows, now and every hour."""
        self._background.keep("retention", self._retain_hourly)

    def stop(self) -> None:
        """Begins no more work, whatever is requested or fails from now on."""
        self._is_stopped = True
        for timer in (self._settling, self._purging):
            if timer is not None:
                timer.cancel()

    async def close(self) -> None:
        """Finishes the work under way."""
        self.stop()
        if self._maintaining is not None:
            await asyncio.gather(self._maintaining, return_exceptions=True)
        self._thread.shutdown(wait=True)

    def _start(self, work: Callable[[], bool]) -> None:
        rests = asyncio.get_running_loop().time() < self._rests_until
        if not self._is_stopped and not rests and (self._maintaining is None or self._maintaining.done()):
            self._maintaining = self._background.begin("maintenance", self._run(work), lambda _: self._rest())

    async def _run(self, work: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        try:
            is_left = await loop.run_in_executor(self._thread, self._maintain, work)
        except StoreFailed as error:
            self._commits.fail(error)
            return
        if is_left and self._purging is None:
            self._purging = self._later(self._purge.seconds_left, self._purge_again)

    def _maintain(self, work: Callable[[], bool]) -> bool:
        """Purges if due, does the work, and returns whether anything is left to purge."""
        # Paced: a purge rebuilds its partition whatever it removes, and erasures may come one by one.
        self._purge.run()
        work()
        return self._store.awaits_purge

    async def _retain_hourly(self) -> None:
        while True:
            # Retention is logged like any change, so that a replay drops the same events whatever its clock shows.
            await self._commits.between(partial(Retaining(self._store).retain, self._clock.now_ms()))
            await asyncio.sleep(_RETAIN_SECONDS)

    def _rest(self) -> None:
        """Pauses for a moment, then tries again: a failed step changed nothing, or has stopped the store."""
        self._rests_until = asyncio.get_running_loop().time() + PAUSE_SECONDS
        if self._purging is None:
            self._purging = self._later(PAUSE_SECONDS, self._purge_again)

    def _later(self, seconds: float, work: Callable[..., None], *given: Any) -> asyncio.TimerHandle | None:
        """A timer, or None once the threads that its work needs are about to end."""
        return None if self._is_stopped else asyncio.get_running_loop().call_later(seconds, work, *given)

    def _purge_again(self) -> None:
        self._purging = None
        self._start(self._store.maintain)
