"""A value that all routers of a cluster share: a document with versions, kept with a partition.

A router asks for a newer version before each use, and changes only the version it has seen last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from cdp.v1 import shard_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import READ_DOCUMENT, WRITE_DOCUMENT
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.deadline import Deadline
from cdp_router.errors import RouterError

Value = TypeVar("Value")
Result = TypeVar("Result")
PARTITION: Final = 0
_ATTEMPTS: Final = 8  # other routers may be faster, but each time one of them succeeds


class _HolderChanged(Exception):
    """Another shard than before holds the document: its value may have changed."""


class SharedDocument(Generic[Value]):
    """This router's copy of a document; `read` and `write` turn its value from and into bytes."""

    def __init__(
        self,
        routing: Routing,
        name: str,
        empty: Value,
        read: Callable[[bytes], Value],
        write: Callable[[Value], bytes],
        busy: Callable[[], RouterError],
    ) -> None:
        self._routing, self._name = routing, name
        self._read, self._write, self._busy = read, write, busy
        # Versions count up unless the cluster is restored; then, as after a move, the epoch is another one.
        self._epoch, self._version = 0, 0
        self._empty = self.known = empty
        self._changing = asyncio.Lock()

    async def newest(self, deadline: Deadline) -> Value:
        """The current value."""
        asked = list[int]()  # epochs, the last one is that of the answer

        def request(claims: Sequence[PartitionClaim]) -> shard_pb2.ReadDocumentRequest:
            [claim] = claims
            asked.append(claim.epoch)
            known_version = self._version if claim.epoch == self._epoch else 0
            return shard_pb2.ReadDocumentRequest(name=self._name, known_version=known_version)

        found = await self._routing.one(READ_DOCUMENT, request, deadline, PARTITION)
        epoch = asked[-1]
        if (epoch, found.version) > (self._epoch, self._version):
            known = self._read(found.content) if found.version else self._empty
            self._epoch, self._version, self.known = epoch, found.version, known
        return self.known

    async def change(self, work: Callable[[Value], tuple[Result, Value]], deadline: Deadline) -> Result:
        """Replaces the newest value by another one, durably; tries again if another router was faster, `busy` if one
        always was."""
        async with self._changing:
            for _ in range(_ATTEMPTS):
                before = await self.newest(deadline)
                result, after = await asyncio.to_thread(work, before)
                if after is before or await self._written(after, deadline):
                    return result
        raise self._busy()

    async def _written(self, value: Value, deadline: Deadline) -> bool:
        """Writes the value unless another one was written since; True if it did."""
        content, expected, epoch = self._write(value), self._version, self._epoch

        def request(claims: Sequence[PartitionClaim]) -> shard_pb2.WriteDocumentRequest:
            [claim] = claims
            if claim.epoch != epoch:
                raise _HolderChanged
            return shard_pb2.WriteDocumentRequest(name=self._name, expected_version=expected, content=content)

        try:
            response = await self._routing.one(WRITE_DOCUMENT, request, deadline, PARTITION)
        except _HolderChanged:
            return False
        if response.written and epoch == self._epoch:
            self._version, self.known = expected + 1, value
        return response.written
