"""Short readings of a shard's partitions, on threads of their own.

Each may wait for the lock of a partition, held by a batch being applied or an export. The event loop never does: health
and all other calls would wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import psutil
from cdp.v1 import admin_pb2, shard_pb2

from cdp_query.bind.names import Names
from cdp_query.language.mistyped import kinds_held
from cdp_router.contract.partials import from_names, to_held_kinds, to_names
from cdp_store.shard.store import Store

Result = TypeVar("Result")
_THREADS: Final = 2  # one may wait for a lock


class ShardReadings:
    """Reads sizes, names and other small things of one store."""

    def __init__(self, store: Store) -> None:
        self._store, self._threads = store, ThreadPoolExecutor(_THREADS, "reading")

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of a short reading."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def status(self) -> shard_pb2.ReadStatusResponse:
        """Sizes of the partitions and of the process."""
        return await self.run(self._status)

    async def schema(self, request: shard_pb2.ReadSchemaRequest) -> shard_pb2.ReadSchemaResponse:
        """Names that any partition has seen, and the kinds of values under the requested ones."""
        return await self.run(partial(self._schema, request))

    def close(self) -> None:
        """Waits for running readings."""
        self._threads.shutdown(wait=True)

    def _status(self) -> shard_pb2.ReadStatusResponse:
        held = self._store.partitions
        # The two change one after the other when a partition comes or goes: it may be in only one of them.
        sizes = [held[number].status() for number in self._store.holdings.owned() if number in held]
        statuses = [
            admin_pb2.PartitionStatus(
                partition=size.partition,
                sequence=size.sequence,
                profiles=size.profiles,
                events=size.events,
                unsealed=size.unsealed,
                memory=size.memory,
                epoch=holding.epoch,
            )
            for size in sizes
            if (holding := self._store.holdings.get(size.partition)) is not None
        ]
        resident = psutil.Process().memory_info().rss
        return shard_pb2.ReadStatusResponse(
            cluster=self._store.identity.cluster, partitions=statuses, resident_bytes=resident
        )

    def _schema(self, request: shard_pb2.ReadSchemaRequest) -> shard_pb2.ReadSchemaResponse:
        whole, kinds = Names(), list[shard_pb2.HeldKinds]()
        for partition in self._store.partitions.values():
            view = partition.capture()
            schema = view.schema
            own = Names(frozenset(schema.events), frozenset(schema.properties), frozenset(schema.attributes))
            whole = whole.merge(own)
            if request.HasField("kinds_of"):
                kinds.extend(to_held_kinds(kinds_held(view, from_names(request.kinds_of))))
        return shard_pb2.ReadSchemaResponse(names=to_names(whole), kinds=kinds)
