"""Channels whose calls carry metadata: request id and trace of the original call, and the caller's credentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import grpc

from cdp_router.rpc.call import Metadata, outgoing_metadata

Channel = TypeVar("Channel", grpc.Channel, grpc.aio.Channel)


def carrying(channel: Channel, own: Metadata = ()) -> Channel:
    """Channel for stubs of such calls; `own` is sent with each of them."""
    return cast("Channel", _Carrying(channel, own))


class _Carrying:
    """The part of a channel that stubs use; an interceptor would cost a task and two objects a call."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel, own: Metadata) -> None:
        self._channel, self._own = channel, own

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.unary_unary(*arguments, **options), self._own)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.unary_stream(*arguments, **options), self._own)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.stream_unary(*arguments, **options), self._own)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return _carrying(self._channel.stream_stream(*arguments, **options), self._own)


def _carrying(call: Callable[..., Any], own: Metadata) -> Callable[..., Any]:
    def carry(request: Any, timeout: float | None = None) -> Any:
        return call(request, timeout=timeout, metadata=(*outgoing_metadata(), *own))

    return carry
