"""Write keys that the gateway refuses, reported to a router: it refuses them as well, and records that in its audit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import grpc
from cdp.v1 import ingest_pb2, ingest_pb2_grpc

from cdp_router.background import Background
from cdp_router.client.credentials import authorization
from cdp_router.rpc.call import Metadata
from cdp_router.security.keys.token_bucket import TokenBucket
from cdp_router.security.keys.unusable import CredentialsUnusable

_LOG: Final = logging.getLogger(__name__)
_PER_SECOND: Final = 10.0  # as many as an audit keeps of its own
_BURST: Final = 100.0
_AT_ONCE_MAX: Final = 16
_SECONDS: Final = 5.0
_MALFORMED: Final = (("authorization", "Bearer -"),)  # replaces a key that no header can carry
_REFUSALS: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class Refusals:
    """Makes routers record refused keys; beyond some a second they are only counted, and logged."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], background: Background | None = None) -> None:
        self._background = background or Background()
        self._ingest = [ingest_pb2_grpc.IngestServiceStub(channel) for channel in channels]
        self._loop, self._bucket = asyncio.get_running_loop(), TokenBucket(_PER_SECOND, _BURST)
        self._telling = set[asyncio.Task[None]]()
        self._untold = 0

    def note(self, shown: str) -> None:
        """Reports a key, soon; any thread may call this."""
        self._loop.call_soon_threadsafe(self._note, shown)

    async def settle(self) -> None:
        """Returns when everything noted was reported, or could not be."""
        await asyncio.sleep(0)
        await asyncio.gather(*self._telling)

    def _note(self, shown: str) -> None:
        if len(self._telling) >= _AT_ONCE_MAX or self._bucket.wait_seconds():
            self._untold += 1
            return
        self._bucket.spend(1)
        if self._untold:
            _LOG.warning("%d refused write keys are missing from the audit: they came too fast", self._untold)
            self._untold = 0
        task = self._background.begin("audit of a refused key", self._tell(_metadata(shown)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, metadata: Metadata) -> None:
        """Sends nothing under the key, to the first router that answers."""
        for stub in self._ingest:
            try:
                await stub.Ingest(ingest_pb2.IngestRequest(), timeout=_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() in _REFUSALS:
                    return
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    break  # a router knows the key already, and accepted the empty batch
        _LOG.warning("could not report a refused write key to the audit of a router")


def _metadata(shown: str) -> Metadata:
    try:
        return authorization(shown) if shown else ()
    except CredentialsUnusable:
        return _MALFORMED
