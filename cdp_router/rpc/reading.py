"""Large requests on their way in: how many are read at once, since each may become as large as its bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cdp_router.errors import DeadlineMissed, Overloaded
from cdp_router.limits import (
    INGEST_RETRY_AFTER_MS,
    READ_SECONDS,
    READING_OF_KEY_MAX,
    READING_WAIT_SECONDS,
    READINGS_MAX,
)


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
        self._keys = dict[str, int]()
        self._wait_seconds, self._read_seconds = wait_seconds, read_seconds

    @asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """While a request under a key is read; Overloaded where it gets no turn, DeadlineMissed where it never ends."""
        if self._keys.get(key, 0) >= self._of_key:
            raise Overloaded(_PROBLEM, INGEST_RETRY_AFTER_MS)
        self._keys[key] = self._keys.get(key, 0) + 1
        try:
            await self._turn()
            try:
                async with asyncio.timeout(self._read_seconds):
                    yield
            except TimeoutError:
                raise DeadlineMissed(f"the request did not come in within {self._read_seconds:g} s") from None
            finally:
                self._room.release()
        finally:
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._room.acquire()
        except TimeoutError:
            raise Overloaded(_PROBLEM, INGEST_RETRY_AFTER_MS) from None


_PROBLEM: Final = "too many large requests are coming in at once"
