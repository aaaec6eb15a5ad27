"""The seam between router and shards: `grpc_shard_client` is one side of it, `local_shard_client` the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from cdp_router.cluster.shard_methods import Request, Response, StreamMethod, UnaryMethod
from cdp_router.deadline import Deadline


class ShardClient(Protocol):
    """Calls methods of one shard; failures of the shard itself are grpc.RpcError."""

    address: str

    async def call(self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline) -> Response:
        """Call a method with one response."""

    def stream(
        self, method: StreamMethod[Request, Response], request: Request, deadline: Deadline
    ) -> AsyncIterator[Response]:
        """Call a method with a stream of responses."""

    async def close(self) -> None:
        """Let go of the connection, where it is one of its own."""
