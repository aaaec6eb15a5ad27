"""A connection to a cluster's router with typed failures and safe retries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc

from cdp_router.client.channels import OPTIONS
from cdp_router.client.failures import Backoff, failure_of
from cdp_router.security.tls.renewing import renewing_blocking
from cdp_router.security.tls.tls import Tls

Response = TypeVar("Response")


def _connect(address: str, tls: Tls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return renewing_blocking(lambda: grpc.secure_channel(address, tls.channel(), options=OPTIONS), tls)


class Connection:
    """One channel to a router, and how calls over it are made."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        self.address = address
        self._channel = _connect(address, tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def _retried(self, call: Callable[[], Response], give_up_seconds: float) -> Response:
        backoff = Backoff(time.monotonic(), give_up_seconds)
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                failure = failure_of(error, self.address)
                wait = backoff.next(error.code(), failure, time.monotonic())
                if wait is None:
                    raise failure from None
            time.sleep(wait)

    def _translated(self, call: Callable[[], Response]) -> Response:
        try:
            return call()
        except grpc.RpcError as error:
            raise failure_of(error, self.address) from None

    def _streamed(self, call: Callable[[], Iterable[Response]]) -> Iterator[Response]:
        try:
            yield from call()
        except grpc.RpcError as error:
            raise failure_of(error, self.address) from None
