"""Records sent in the background of an event loop."""

from __future__ import annotations

import asyncio
import time as clock
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from cdp.v1 import ingest_pb2

from cdp_router.client.writing.batching import (
    BATCH_RECORDS_DEFAULT,
    GIVE_UP_SECONDS_DEFAULT,
    LINGER_SECONDS_DEFAULT,
    QUEUE_BYTES_DEFAULT,
    Outgoing,
    Problem,
    Sending,
    WriterClosed,
    encode,
)
from cdp_router.client.writing.outbox import Outbox
from cdp_router.client.writing.outcomes import Tally, log_problem


class AsyncIngesting(Protocol):
    """Destination of batches, such as an AsyncClient."""

    async def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        """Makes a batch durable, with retries up to this time."""


class AsyncWriter:
    """Background writer like Writer, for one event loop: `track` and `identify` wait while the queue is full.

    Used as `async with AsyncWriter(client) as writer`. The end of the block waits until everything is answered, and
    raises the errors of `flush`: CallbackFailed, WriterBroken.
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
        self._client, self._give_up = client, give_up_seconds
        self._outbox = Outbox("task", queue_bytes, batch_records, linger_seconds, on_problem)
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncWriter:
        self._task = asyncio.create_task(self._run(), name="cdp-writer")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._changed:
            self._outbox.closed = True
            self._changed.notify_all()
        assert self._task is not None
        await asyncio.wait([self._task])
        self._outbox.check_block(error)

    @property
    def tally(self) -> Tally:
        """Counts of the records answered or given up so far, by outcome."""
        return self._outbox.outcomes.tally

    async def track(
        self,
        name: str,
        user_id: str = "",
        properties: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        email: str = "",
        identifiers: Mapping[str, str] | None = None,
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queues an event; `identifiers` are others of the person, by kind."""
        await self._put(encode(name, properties, user_id, anonymous_id, time, message_id, email, identifiers))

    async def identify(
        self,
        user_id: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str = "",
        email: str = "",
        identifiers: Mapping[str, str] | None = None,
        time: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queues a change of attributes; None unsets one. `identifiers` are others of the person, by kind."""
        await self._put(encode(None, attributes, user_id, anonymous_id, time, message_id, email, identifiers))

    async def flush(self) -> None:
        """Sends waiting records and waits until all have been answered.

        Raises CallbackFailed for exceptions of `on_problem` since the last call, and WriterBroken where nothing is sent
        any more.
        """
        self._outbox.check_process()
        async with self._changed:
            self._outbox.flush()
            self._changed.notify_all()
            await self._changed.wait_for(self._outbox.is_flushed)
            self._outbox.check_all_sent()

    async def _put(self, record: Outgoing) -> None:
        self._outbox.check_process()
        async with self._changed:
            await self._changed.wait_for(lambda: self._outbox.may_put(record))
            self._outbox.check_alive()
            if self._outbox.closed or self._task is None:
                raise WriterClosed("the writer is closed, or was not entered with `async with`")
            self._outbox.put(record, clock.monotonic())
            self._changed.notify_all()

    async def _run(self) -> None:
        while (sending := await self._next()) is not None:
            await self._send(sending)
            async with self._changed:
                self._outbox.sent()
                self._changed.notify_all()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Makes every call raise once the task has ended, even one cancelled before it began."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._outbox.ended(error)
            self._telling = asyncio.create_task(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _next(self) -> Sending | None:
        async with self._changed:
            await self._changed.wait_for(self._outbox.has_work)
            if not self._outbox.waiting:
                return None
            try:
                async with asyncio.timeout(self._outbox.linger_seconds(clock.monotonic())):
                    await self._changed.wait_for(self._outbox.is_due)
            except TimeoutError:
                pass  # the batch is old enough
            sending = self._outbox.next_sending(clock.monotonic())
            self._changed.notify_all()
            return sending

    async def _send(self, sending: Sending) -> None:
        try:
            result = await self._client.ingest(sending.batch, give_up_seconds=self._give_up)
        except Exception as error:  # noqa: BLE001 # any failure loses only this batch, and is reported
            self._outbox.lost(sending, error)
        else:
            self._outbox.answered(sending, result)
