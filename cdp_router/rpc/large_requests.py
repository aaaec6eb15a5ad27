"""Large requests on their way in: a limit on how many are read at once, since each may be as large as its bound.

A stream takes a turn for each message, and holds it while it waits for one: gRPC does not reveal how much of a message
has arrived. Streams that wait longest are ended when others lack a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cdp_router.errors import DeadlineMissed, Overloaded
from cdp_router.limits import (
    INGEST_RETRY_AFTER_MS,
    READ_SECONDS,
    READING_OF_KEY_MAX,
    READING_WAIT_SECONDS,
    READINGS_MAX,
    STREAM_IDLE_SECONDS,
)


@dataclass(slots=True)
class _OfKey:
    """The turns of one key, and the number of requests that have or await one."""

    turns: asyncio.Semaphore
    count: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    """A stream that waits for its next message, and the turns it holds meanwhile."""

    turns: Sequence[asyncio.Semaphore]
    since: float
    timer: asyncio.Timeout


class Readings:
    """Admits a limited number of large requests at a time, and fewer of one key; others wait briefly or are refused."""

    def __init__(
        self,
        together: int = READINGS_MAX,
        of_key: int = READING_OF_KEY_MAX,
        wait_seconds: float = READING_WAIT_SECONDS,
        read_seconds: float = READ_SECONDS,
        idle_seconds: float = STREAM_IDLE_SECONDS,
    ) -> None:
        self._room, self._of_key = asyncio.Semaphore(together), of_key
        self._keys = dict[str, _OfKey]()
        self._streams = list[_Stream]()  # the longest waiting one first
        self._wait_seconds, self._read_seconds, self._idle_seconds = wait_seconds, read_seconds, idle_seconds

    @asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """Holds a turn while a request is read; Overloaded if it gets no turn, DeadlineMissed if it takes too long."""
        async with self._turn(key):
            try:
                async with asyncio.timeout(self._read_seconds):
                    yield
            except TimeoutError:
                raise DeadlineMissed(f"the request did not come in within {self._read_seconds:g} s") from None

    @asynccontextmanager
    async def next_of_stream(self, key: str) -> AsyncIterator[None]:
        """Holds a turn while the next message of a stream is awaited and read; Overloaded if others need the turn."""
        async with self._turn(key) as turns:
            waiting = _Stream(turns, asyncio.get_running_loop().time(), asyncio.timeout(None))
            try:
                async with waiting.timer:
                    self._streams.append(waiting)
                    try:
                        yield
                    finally:
                        self._streams.remove(waiting)
            except TimeoutError:
                if not waiting.timer.expired():
                    raise
                problem = "the stream waited for its next batch, and others needed its turn; open a new stream"
                raise Overloaded(problem, INGEST_RETRY_AFTER_MS) from None

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[Sequence[asyncio.Semaphore]]:
        """Turn for one request. Without keys all callers share all turns."""
        own = self._keys.setdefault(key, _OfKey(asyncio.Semaphore(self._of_key)))
        own.count += 1
        turns = (own.turns, self._room) if key else (self._room,)
        taken = list[asyncio.Semaphore]()
        try:
            await self._take(turns, taken)
            yield turns
        finally:
            for each in taken:
                each.release()
            own.count -= 1
            if not own.count:
                del self._keys[key]

    async def _take(self, turns: Sequence[asyncio.Semaphore], taken: list[asyncio.Semaphore]) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                for each in turns:
                    await self._acquire(each)
                    taken.append(each)
        except TimeoutError:
            problem = "too many large requests are coming in at once"
            raise Overloaded(problem, INGEST_RETRY_AFTER_MS) from None

    async def _acquire(self, turns: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        patience = loop.call_later(self._idle_seconds, self._end_idlest, turns, loop.time()) if turns.locked() else None
        try:
            await turns.acquire()
        finally:
            if patience is not None:
                patience.cancel()

    def _end_idlest(self, turns: asyncio.Semaphore, before: float) -> None:
        """Ends the stream that has waited longest with one of these turns, if it has waited since `before`."""
        for stream in self._streams:
            if stream.since <= before and turns in stream.turns and stream.timer.when() is None:
                stream.timer.reschedule(asyncio.get_running_loop().time())
                return
