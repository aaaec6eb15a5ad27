"""Records sent in the background of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from cdp.v1 import ingest_pb2

from cdp_router.client.batching import (
    BATCH_RECORDS_DEFAULT,
    GIVE_UP_SECONDS_DEFAULT,
    LINGER_SECONDS_DEFAULT,
    QUEUE_BYTES_DEFAULT,
    Lost,
    Outgoing,
    Problem,
    Sending,
    Tally,
    Waiting,
    WriterClosed,
    encode,
)
from cdp_router.client.failures import ClusterUnreachable, RequestFailed
from cdp_router.client.writer import log_problem


class AsyncIngesting(Protocol):
    """What takes batches, such as an AsyncClient."""

    async def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        """Make a batch durable, trying again for so long."""


class AsyncWriter:
    """What Writer is, for one event loop: `track` and `identify` wait while the queue is full.

    Used as `async with AsyncWriter(client) as writer`: the end of the block waits until everything is answered.
    """

    def __init__(
        self,
        client: AsyncIngesting,
        *,
        queue_bytes: int = QUEUE_BYTES_DEFAULT,
        batch_records: int = BATCH_RECORDS_DEFAULT,
        linger_seconds: float = LINGER_SECONDS_DEFAULT,
        give_up_seconds: float = GIVE_UP_SECONDS_DEFAULT,
        on_problem: Callable[[Problem], None] = log_problem,
    ) -> None:
        self._client, self._on_problem = client, on_problem
        self._linger, self._give_up = linger_seconds, give_up_seconds
        self._waiting = Waiting(queue_bytes, batch_records)
        self._changed = asyncio.Condition()
        self._closed = self._flushing = self._sending = False
        self._task: asyncio.Task[None] | None = None
        self.tally = Tally()

    async def __aenter__(self) -> AsyncWriter:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        assert self._task is not None
        await self._task

    async def track(
        self,
        name: str,
        user_id: str = "",
        properties: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue an event."""
        await self._put(encode(name, properties or {}, user_id, anonymous_id, time, message_id))

    async def identify(
        self,
        user_id: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue a change of attributes; None unsets one."""
        await self._put(encode(None, attributes or {}, user_id, anonymous_id, time, message_id))

    async def flush(self) -> None:
        """Send what waits and wait until all of it has been answered."""
        async with self._changed:
            self._flushing = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._waiting and not self._sending)

    async def _put(self, record: Outgoing) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._waiting.has_room(record))
            if self._closed or self._task is None:
                raise WriterClosed("the writer is closed, or was not entered with `async with`")
            self._waiting.put(record)
            self._changed.notify_all()

    async def _run(self) -> None:
        while (sending := await self._next()) is not None:
            await self._send(sending)
            async with self._changed:
                self._sending = False
                self._changed.notify_all()

    async def _next(self) -> Sending | None:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting:
                return None
            try:
                async with asyncio.timeout(self._linger):
                    await self._changed.wait_for(lambda: self._waiting.is_batch() or self._flushing or self._closed)
            except TimeoutError:
                pass  # old enough
            sending = self._waiting.take()
            self._sending, self._flushing = True, self._flushing and bool(self._waiting)
            self._changed.notify_all()
            return sending

    async def _send(self, sending: Sending) -> None:
        try:
            result = await self._client.ingest(sending.batch, give_up_seconds=self._give_up)
        except (RequestFailed, ClusterUnreachable) as error:
            self.tally.lost += len(sending.message_ids)
            self._on_problem(Lost(sending.message_ids, error))
            return
        self.tally.accepted += result.accepted
        self.tally.duplicates += result.duplicates
        self.tally.rejected += len(result.errors)
        self.tally.quarantined += result.quarantined
        for problem in sending.problems(result):
            self._on_problem(problem)
