"""Group commit of one shard: batches that arrive while a sync is under way wait and share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from cdp_router.background import Background
from cdp_router.errors import RouterError
from cdp_store.errors import StorageFull, StoreFailed
from cdp_store.limits import COMMIT_GROUP_BYTES_MAX, LOG_SYNC_INTERVAL_MS
from cdp_store.log.sync_mode import SyncMode
from cdp_store.shard.admission import Delivery, Outcome
from cdp_store.shard.store import Store

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    deliveries: list[Delivery]
    size: int
    check: Callable[[], None]
    done: asyncio.Future[list[Outcome]]


class Commits:
    """The one writer of a store: groups of batches, and other changes between them, all in one thread."""

    def __init__(
        self,
        store: Store,
        on_failure: Callable[[StoreFailed], None],
        on_committed: Callable[[], None],
        background: Background | None = None,
    ) -> None:
        self._store, self._on_failure, self._on_committed = store, on_failure, on_committed
        self._background = background or Background()
        self._waiting = list[_Waiting]()
        self._committing: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None
        # One thread, so that what writes to the log needs no lock: each piece of work sees the store as the last one
        # left it.
        self._thread = ThreadPoolExecutor(1, "commit")

    @property
    def waiting_count(self) -> int:
        """Requests that wait for the end of the current sync."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Their size as received."""
        return sum(waiting.size for waiting in self._waiting)

    async def commit(self, deliveries: list[Delivery], size: int, check: Callable[[], None]) -> list[Outcome]:
        """Logs and applies batches of `size` bytes with those of others; returns once they are durable and visible.

        `check` raises if they may no longer be accepted: it runs when nothing else can change the store.
        """
        waiting = _Waiting(deliveries, size, check, asyncio.get_running_loop().create_future())
        # Only the event loop touches the queue, so that no lock guards it.
        self._waiting.append(waiting)
        self._commit_soon()
        # A caller that goes away must not undo a batch that is being logged.
        return await asyncio.shield(waiting.done)

    async def between(self, work: Callable[[], Result]) -> Result:
        """Runs work that writes to the log next to batches; a caller that goes away does not undo it."""
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except StoreFailed as error:
            self.fail(error)
            raise

    def fail(self, error: StoreFailed) -> None:
        """Notes that the store accepts nothing any more."""
        _LOG.critical("the store failed: %s", error)
        self._on_failure(error)

    async def close(self) -> None:
        """Finishes the commit under way."""
        for task in (self._committing, self._syncing):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    def _commit_soon(self) -> None:
        if self._waiting and (self._committing is None or self._committing.done()):
            # However it ends, waiting senders must not wait for ever.
            work = self._commit_waiting()
            self._committing = self._background.begin("commit", work, lambda _: self._commit_soon())

    async def _commit_waiting(self) -> None:
        """Commits groups until nobody waits: batches that arrive during one sync form the next group."""
        while self._waiting:
            # What arrives during this await joins the queue, and shares the sync of the next round.
            if not await self._commit_group(_take_group(self._waiting)):
                continue
            if self._store.sync_mode is SyncMode.INTERVAL and (self._syncing is None or self._syncing.done()):
                # One timer for all groups of the interval; the sync itself waits in the thread of commits, never during
                # a write.
                self._syncing = self._background.begin("sync of the log", self._sync_later())
            self._on_committed()

    async def _commit_group(self, group: Sequence[_Waiting]) -> bool:
        """Commits a group, and answers its senders; False if nothing of it was logged."""
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, group)
        except (StoreFailed, StorageFull) as error:  # these concern every sender
            _refuse(group, error)
            if isinstance(error, StoreFailed):
                self.fail(error)
            return False
        except Exception as error:  # whatever the error, each sender must learn that its batch was not acked
            if len(group) == 1:
                _refuse(group, error)
                return False
            # Nothing was logged. By halves, so that only the sender of an unacceptable batch is refused.
            middle = len(group) // 2
            return any([await self._commit_group(half) for half in (group[:middle], group[middle:])])
        for waiting, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, RouterError):
                _refuse([waiting], outcome)
            elif not waiting.done.done():
                waiting.done.set_result(outcome)
        return True

    def _commit(self, group: Sequence[_Waiting]) -> list[list[Outcome] | RouterError]:
        """Commits those of a group that may still be accepted; returns the outcomes or the refusal of each."""
        # Here too, after the check of the request: a release of the partition may have been logged while the batch
        # waited.
        refusals = [_refusal(waiting) for waiting in group]
        taken = [waiting for waiting, refusal in zip(group, refusals, strict=True) if refusal is None]
        found = iter(self._store.commit([delivery for waiting in taken for delivery in waiting.deliveries]))
        return [
            refusal or [next(found) for _ in waiting.deliveries]
            for waiting, refusal in zip(group, refusals, strict=True)
        ]

    async def _sync_later(self) -> None:
        """Makes durable what was acked without a sync: once per interval, between two groups."""
        await asyncio.sleep(LOG_SYNC_INTERVAL_MS / 1000)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.sync)
        except StoreFailed as error:
            self.fail(error)


def _take_group(waiting: list[_Waiting]) -> list[_Waiting]:
    size, count = 0, 0
    for entry in waiting:
        # The first is taken whatever its size: a group is never empty, or a large batch would wait for ever.
        if count and size + entry.size > COMMIT_GROUP_BYTES_MAX:
            break
        size, count = size + entry.size, count + 1
    group = waiting[:count]
    del waiting[:count]
    return group


def _refusal(waiting: _Waiting) -> RouterError | None:
    try:
        waiting.check()
    except RouterError as error:
        return error
    return None


def _refuse(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_exception(error)
