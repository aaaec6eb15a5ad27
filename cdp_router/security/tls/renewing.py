"""Channels that connect again once their certificates have been replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, cast

import grpc

from cdp_router.security.tls.certificate_files import CertificateFiles
from cdp_router.security.tls.tls import Tls

Channel = Any  # of gRPC, whose calls block, or do not
LOOK_SECONDS: Final = 10.0  # between two checks of the files


def renewing(connect: Callable[[], grpc.aio.Channel], tls: Tls, look_seconds: float = LOOK_SECONDS) -> grpc.aio.Channel:
    """A channel made by `connect`, which reads the certificates."""
    return cast("grpc.aio.Channel", _AioRenewing(connect, tls, look_seconds))


def renewing_blocking(connect: Callable[[], grpc.Channel], tls: Tls) -> grpc.Channel:
    """The same for channels whose calls block."""
    return cast("grpc.Channel", _BlockingRenewing(connect, tls, LOOK_SECONDS))


class _Renewing:
    """The part of a channel that stubs and their owners use.

    A replaced channel finishes its calls, and is closed with the last one: that is one for each renewal.
    """

    def __init__(self, connect: Callable[[], Channel], tls: Tls, look_seconds: float) -> None:
        self._connect, self._files, self._look_seconds = connect, CertificateFiles(tls), look_seconds
        self._channels = [connect()]
        self._lock, self._next_look = threading.Lock(), time.monotonic() + look_seconds

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._late(lambda channel: channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._late(lambda channel: channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._late(lambda channel: channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._late(lambda channel: channel.stream_stream(*arguments, **options))

    def _late(self, make: Callable[[Channel], Callable[..., Any]]) -> Callable[..., Any]:
        """Calls of one method, each on the current channel."""
        channel = self._now()
        made = channel, make(channel)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            now = self._now()
            if made[0] is not now:
                made = now, make(now)
            return made[1](*arguments, **options)

        return call

    def _now(self) -> Channel:
        with self._lock:
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + self._look_seconds
                if self._files.have_changed():
                    self._channels.append(self._connect())
            return self._channels[-1]


class _AioRenewing(_Renewing):
    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


class _BlockingRenewing(_Renewing):
    def close(self) -> None:
        for channel in self._channels:
            channel.close()
