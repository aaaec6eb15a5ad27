"""A document of the cluster, while the partition that keeps it moves from one shard to another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from cdp.v1 import shard_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import READ_DOCUMENT, WRITE_DOCUMENT, UnaryMethod
from cdp_router.cluster.shared_document import SharedDocument
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.deadline import Deadline
from cdp_router.errors import SegmentsChanged, WrongEpoch
from tests.router.local_cluster import CLUSTER, far_deadline


@dataclass(slots=True)
class Keeper:
    """The shards of a cluster, of which `holder` keeps the document; it moves before the first write."""

    claim: PartitionClaim = PartitionClaim(0, 1, 0)
    moves_to: PartitionClaim | None = None
    version: int = 1
    content: bytes = b"a"
    written: list[tuple[int, int, bytes]] = field(default_factory=list)  # (epoch, version expected, content)

    def shard(self, number: int) -> Any:
        return _Shard(self, number)

    def answer(self, number: int, method: object, request: Any) -> Any:
        if method is WRITE_DOCUMENT and self.moves_to is not None:
            # Restored meanwhile: the same version number stands for another content.
            self.claim, self.content, self.moves_to = self.moves_to, b"restored", None
        if (request.partition, request.epoch, number) != (self.claim.partition, self.claim.epoch, self.claim.shard):
            raise WrongEpoch([self.claim])
        if method is READ_DOCUMENT:
            known = request.known_version == self.version
            return shard_pb2.ReadDocumentResponse(version=self.version, content=b"" if known else self.content)
        self.written.append((request.epoch, request.expected_version, request.content))
        if request.expected_version != self.version:
            return shard_pb2.WriteDocumentResponse()
        self.version, self.content = self.version + 1, request.content
        return shard_pb2.WriteDocumentResponse(written=True)


@dataclass(slots=True)
class _Shard:
    keeper: Keeper
    number: int
    address: str = "there"

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        return self.keeper.answer(self.number, method, request)


def document(keeper: Keeper) -> SharedDocument[bytes]:
    routing = Routing(CLUSTER, {number: keeper.shard(number) for number in range(2)})
    return SharedDocument(routing, "text", b"", bytes, bytes, SegmentsChanged)


def test_a_value_made_from_what_another_holder_had_is_not_written() -> None:
    keeper = Keeper(moves_to=PartitionClaim(0, 2, 1))
    shared = document(keeper)
    asyncio.run(shared.change(lambda known: (None, known + b"+"), far_deadline()))
    assert keeper.written == [(2, 1, b"restored+")], "the first one was made from what stood there before"
    assert (keeper.content, shared.known) == (b"restored+", b"restored+")


def test_a_value_is_read_anew_from_another_holder_though_its_version_is_the_same() -> None:
    keeper = Keeper()
    shared = document(keeper)
    assert asyncio.run(shared.newest(far_deadline())) == b"a"
    keeper.claim, keeper.content = PartitionClaim(0, 3, 1), b"b"
    assert asyncio.run(shared.newest(far_deadline())) == b"b"
    keeper.content = b"not read: its version is known"
    assert asyncio.run(shared.newest(far_deadline())) == b"b"
