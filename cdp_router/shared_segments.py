"""The named segments of a cluster, as all of its routers share them: a document with versions, kept with a partition.

A router asks for what is new before it uses or shows any, and changes them only as it has seen them last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from cdp.v1 import shard_pb2

from cdp_query.named import Definition
from cdp_router.deadline import Deadline
from cdp_router.errors import SegmentsChanged
from cdp_router.named_segments import NamedSegments
from cdp_router.partition_map import Claim
from cdp_router.routing import Routing
from cdp_router.shard_client import ShardClient

Result = TypeVar("Result")
PARTITION: Final = 0
DOCUMENT: Final = "segments"
_ATTEMPTS: Final = 8  # other routers may be faster, but each time one of them gets on


class SharedSegments:
    """What this router knows of the named segments."""

    def __init__(self, routing: Routing) -> None:
        self._routing, self._cluster = routing, routing.cluster.cluster
        # Versions count up as long as nobody restores the cluster; then, as after a move, the epoch is another.
        self._epoch, self._version, self._known = 0, 0, NamedSegments()
        self._changing = asyncio.Lock()

    def lookup(self, name: str, version: int | None) -> Definition:
        """The definition a question names, as known since the last `newest`."""
        return self._known.lookup(name, version)

    async def newest(self, deadline: Deadline) -> NamedSegments:
        """All segments as they are now."""

        async def ask(client: ShardClient, claim: Claim) -> tuple[int, shard_pb2.ReadDocumentResponse]:
            request = shard_pb2.ReadDocumentRequest(
                cluster=self._cluster,
                partition=PARTITION,
                name=DOCUMENT,
                known_version=self._version if claim.epoch == self._epoch else 0,
                epoch=claim.epoch,
            )
            return claim.epoch, await client.read_document(request, deadline)

        epoch, found = await self._routing.one(PARTITION, ask, deadline)
        if (epoch, found.version) > (self._epoch, self._version):
            known = NamedSegments.read(found.content, DOCUMENT) if found.version else NamedSegments()
            self._epoch, self._version, self._known = epoch, found.version, known
        return self._known

    async def change(self, work: Callable[[NamedSegments], tuple[Result, NamedSegments]], deadline: Deadline) -> Result:
        """Do something to the newest segments, durably; again where another router was faster."""
        async with self._changing:
            for _ in range(_ATTEMPTS):
                before = await self.newest(deadline)
                result, after = await asyncio.to_thread(work, before)
                if after is before or await self._written(after, deadline):
                    return result
        raise SegmentsChanged

    async def take_over(self, path: Path, deadline: Deadline) -> None:
        """Make those the cluster's that one router kept in a file of its own, as routers did once; then rename it."""
        old = NamedSegments.read(path.read_bytes(), str(path))
        await self.change(lambda known: (None, known if known.newest() else old), deadline)
        path.rename(path.with_suffix(".taken-over"))

    async def _written(self, segments: NamedSegments, deadline: Deadline) -> bool:
        """Write them unless others were written since; whether they were."""
        content, expected, epoch = segments.content(), self._version, self._epoch

        async def ask(client: ShardClient, claim: Claim) -> shard_pb2.WriteDocumentResponse:
            if claim.epoch != epoch:
                return shard_pb2.WriteDocumentResponse()  # there may be other segments by now
            request = shard_pb2.WriteDocumentRequest(
                cluster=self._cluster,
                partition=PARTITION,
                name=DOCUMENT,
                expected_version=expected,
                content=content,
                epoch=claim.epoch,
            )
            return await client.write_document(request, deadline)

        response = await self._routing.one(PARTITION, ask, deadline)
        if response.written and epoch == self._epoch:
            self._version, self._known = expected + 1, segments
        return response.written
