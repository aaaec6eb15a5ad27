"""The client of a shard in its own process."""

from __future__ import annotations

from cdp_router.shard.handlers import Handlers
from cdp_router.shard.server import ShardServer


class LocalShardClient(Handlers):
    """A shard in this process: for tests, and for measuring the cost of the network."""

    def __init__(self, server: ShardServer, address: str = "local") -> None:
        super().__init__(server)
        self.address = address

    async def close(self) -> None:
        """Does nothing: the server is closed by its owner."""
