"""A request's bytes, within bounds of size, time, and the total of all requests together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from cdp_router.gateway.http_limits import BODIES_BYTES_MAX, BODY_BYTES_MAX, READ_SECONDS
from cdp_router.gateway.problems import Problem, busy, malformed, too_large


class Bodies:
    """Reads bodies and counts the bytes held of them."""

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX, read_seconds: float = READ_SECONDS) -> None:
        self._bytes_max, self._read_seconds, self._held = bytes_max, read_seconds, 0

    @property
    def held_bytes(self) -> int:
        """Bytes of all requests at work."""
        return self._held

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, counted as held until the block ends."""
        parts = list[bytes]()
        try:
            yield await self._in_time(request, parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _in_time(self, request: Request, parts: list[bytes]) -> bytes:
        if int(request.headers.get("content-length", "0")) > BODY_BYTES_MAX:
            raise _too_large()
        try:
            async with asyncio.timeout(self._read_seconds):
                await self._read(request, parts)
        except TimeoutError as error:
            raise busy(f"the request did not come in within {self._read_seconds:.0f} s") from error
        except ClientDisconnect as error:
            raise malformed("the client went away") from error
        return b"".join(parts)

    async def _read(self, request: Request, parts: list[bytes]) -> None:
        size = 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            self._held += len(part)
            if size > BODY_BYTES_MAX:
                raise _too_large()
            if self._held > self._bytes_max and self._held > size:
                raise busy("more is coming in than fits in memory; send it again a little later")


def _too_large() -> Problem:
    return too_large(f"the body has more than {BODY_BYTES_MAX} bytes; send smaller batches")
