"""Large requests on their way in: how many are read at once, since each may become as large as its bound."""

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
)


@dataclass(slots=True)
class _OfKey:
    """The turns of one key, and how many requests have or await one."""

    turns: asyncio.Semaphore
    count: int = 0


class Readings:
    """Lets in so many large requests at a time, and fewer of one key; others wait a little while, or come again."""

    def __init__(
        self,
        together: int = READINGS_MAX,
        of_key: int = READING_OF_KEY_MAX,
        wait_seconds: float = READING_WAIT_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._room, self._of_key = asyncio.Semaphore(together), of_key
        self._keys = dict[str, _OfKey]()
        self._wait_seconds, self._read_seconds = wait_seconds, read_seconds

    @asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """While a request under a key is read; Overloaded where it gets no turn, DeadlineMissed where it never ends.

        Without keys all callers are one, and have all turns.
        """
        own = self._keys.setdefault(key, _OfKey(asyncio.Semaphore(self._of_key)))
        own.count += 1
        turns = (own.turns, self._room) if key else (self._room,)
        taken = list[asyncio.Semaphore]()
        try:
            await self._take(turns, taken)
            try:
                async with asyncio.timeout(self._read_seconds):
                    yield
            except TimeoutError:
                raise DeadlineMissed(f"the request did not come in within {self._read_seconds:g} s") from None
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
                    await each.acquire()
                    taken.append(each)
        except TimeoutError:
            problem = "too many large requests are coming in at once"
            raise Overloaded(problem, INGEST_RETRY_AFTER_MS) from None
