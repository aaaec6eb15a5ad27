"""The seam between router and shards, implemented by `grpc_shard_client` and `local_shard_client`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Protocol

from cdp_router.cluster.shard_methods import Request, Response, StreamMethod, UnaryMethod
from cdp_router.deadline import Deadline


class ShardClient(Protocol):
    """Calls methods of one shard; failures of the shard itself are grpc.RpcError."""

    address: str

    async def call(self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline) -> Response:
        """Calls a method with one response."""

    def stream(
        self, method: StreamMethod[Request, Response], request: Request, deadline: Deadline
    ) -> AsyncGenerator[Response, None]:
        """Calls a method with a stream of responses; closing it ends the call."""

    async def close(self) -> None:
        """Closes the connection, if it has one of its own."""


def begin(
    client: ShardClient, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline
) -> Awaitable[Response]:
    """Begins a call: one that its client has sent already is no coroutine, needs no task, and can be cancelled."""
    send: Any = getattr(client, "send", client.call)
    begun: Awaitable[Response] = send(method, request, deadline)
    return begun
