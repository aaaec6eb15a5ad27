"""The client of a shard in another process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cdp_router.cluster.shard_methods import METHODS, Method, Request, Response, StreamMethod, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.rpc.carrying import carrying
from cdp_router.security.tls.links import Link


class GrpcShardClient:
    """A shard in another process, reached by a connection of its own."""

    def __init__(self, address: str, link: Link | None = None) -> None:
        self.address = address
        link = link or Link()
        self._channel = link.connect(address)
        channel: Any = carrying(self._channel, link.shown)
        self._calls: dict[Method[Any, Any], Any] = {}
        for method in METHODS:
            make = channel.unary_stream if isinstance(method, StreamMethod) else channel.unary_unary
            self._calls[method] = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
                _registered_method=True,
            )

    async def call(self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline) -> Response:
        response: Response = await self._calls[method](request, timeout=deadline.remaining())
        return response

    async def stream(
        self, method: StreamMethod[Request, Response], request: Request, deadline: Deadline
    ) -> AsyncIterator[Response]:
        async for response in self._calls[method](request, timeout=deadline.remaining()):
            yield response

    async def close(self) -> None:
        await self._channel.close()
