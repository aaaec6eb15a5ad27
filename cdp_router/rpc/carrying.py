"""A channel whose calls carry on the request id and the trace of the call they are made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import grpc

from cdp_router.rpc.call import outgoing_metadata


def carrying(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """What a stub of such calls is made from."""
    return cast("grpc.aio.Channel", _Carrying(channel))


class _Carrying:
    """As much of a channel as stubs use; an interceptor would cost a task and two objects a call."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.stream_stream(*arguments, **options))


def _carrying(call: Callable[..., Any]) -> Callable[..., Any]:
    def carry(request: Any, timeout: float | None = None) -> Any:
        return call(request, timeout=timeout, metadata=outgoing_metadata())

    return carry
