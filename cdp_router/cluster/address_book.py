"""Addresses of shards in a file. Routers read it again whenever it changes, so shards come and go while routers run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from cdp_router.background import Background
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.topology import ClusterDirectory
from cdp_store.errors import DirectoryDamaged

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 60.0  # for calls that are still under way to a shard at its former address


class AddressBook:
    """Keeps the shards of a routing equal to those in the file."""

    def __init__(
        self,
        directory: ClusterDirectory,
        routing: Routing,
        connect: Callable[[str], ShardClient],
        first: Mapping[int, str] | None = None,
        background: Background | None = None,
    ) -> None:
        self._directory, self._routing, self._connect = directory, routing, connect
        self._first = first  # holds until the file changes, because it could not be written
        self._background = background or Background()
        self._seen = 0
        self._leaving = set[asyncio.Task[None]]()

    def read(self) -> None:
        """Reads the file; DirectoryDamaged if it cannot be read."""
        self._seen = self._changed_ns()
        before, after = dict(self._routing.shards), dict[int, ShardClient]()
        addresses, self._first = self._first or self._directory.addresses(), None
        for shard, address in addresses.items():
            known = before.pop(shard, None)
            if known is not None and known.address != address:
                self._leave(known)
                known = None
            after[shard] = known or self._connect(address)
        # One assignment: a request under way continues with the shards it began with.
        self._routing.shards = after
        for gone in before.values():
            self._leave(gone)

    async def keep(self) -> None:
        """Reads the file whenever it changes, until cancelled; one that cannot be read changes nothing."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._changed_ns() == self._seen:
                continue
            try:
                self.read()
                _LOG.info(
                    "shards are now at %s", {number: each.address for number, each in self._routing.shards.items()}
                )
            except DirectoryDamaged as error:
                _LOG.error("%s; shards keep their addresses", error)

    async def close(self) -> None:
        """Closes all connections."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(
            *self._leaving, *(shard.close() for shard in self._routing.shards.values()), return_exceptions=True
        )

    def _changed_ns(self) -> int:
        try:
            return self._directory.addresses_path.stat().st_mtime_ns
        except OSError:
            return 0

    def _leave(self, shard: ShardClient) -> None:
        task = self._background.begin("closing a connection", _close_later(shard))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _close_later(shard: ShardClient) -> None:
    try:
        await asyncio.sleep(_LEAVE_SECONDS)
    finally:
        await shard.close()
