"""The client of a shard in its own process."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from google.protobuf.message import Message

from cdp_router.cluster.shard_methods import Request, Response, StreamMethod
from cdp_router.deadline import Deadline
from cdp_router.shard.handlers import Handlers
from cdp_router.shard.server import ShardServer


class LocalShardClient(Handlers):
    """A shard in this process: for tests, and for measuring the cost of the network."""

    def __init__(self, server: ShardServer, address: str = "local") -> None:
        super().__init__(server)
        self.address = address

    async def stream(
        self, method: StreamMethod[Request, Response], request: Request, deadline: Deadline
    ) -> AsyncGenerator[Response, None]:
        """The responses of a method."""
        async for response in super().stream(method, request, deadline):
            yield response if isinstance(response, Message) else method.response.FromString(b"".join(response))

    async def close(self) -> None:
        """Does nothing: the server is closed by its owner."""
