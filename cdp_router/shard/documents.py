"""Documents of the cluster that a shard keeps with its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdp.v1 import shard_pb2

from cdp_router.shard.checks import check_cluster
from cdp_router.shard.commits import Commits
from cdp_store.directory.documents import ERASURES, Document
from cdp_store.errors import DocumentChanged
from cdp_store.ids import PartitionId
from cdp_store.shard.store import Store

CheckEpochs = Callable[[Iterable[tuple[int, int]]], None]


class ShardDocuments:
    """Reads and replaces documents of partitions that the shard holds."""

    def __init__(self, store: Store, commits: Commits, check_epochs: CheckEpochs) -> None:
        self._store, self._commits, self._check_epochs = store, commits, check_epochs

    async def read(self, request: shard_pb2.ReadDocumentRequest) -> shard_pb2.ReadDocumentResponse:
        """A document, unless the caller knows it."""
        check_cluster(self._store, request.cluster)
        self._check_epochs([(request.partition, request.epoch)])
        found = self._store.documents.of(PartitionId(request.partition)).get(request.name)
        if found is None:
            return shard_pb2.ReadDocumentResponse()
        content = b"" if found.version == request.known_version else found.content
        return shard_pb2.ReadDocumentResponse(version=found.version, content=content)

    async def write(self, request: shard_pb2.WriteDocumentRequest) -> shard_pb2.WriteDocumentResponse:
        """Replaces a document, unless it was replaced since; repeating the same write succeeds."""
        check_cluster(self._store, request.cluster)
        number = PartitionId(request.partition)

        def write() -> tuple[bool, int]:
            self._check_epochs([(request.partition, request.epoch)])
            put, is_essential = self._store.documents.put, request.name == ERASURES
            try:
                made = put(number, request.name, request.expected_version, request.content, essential=is_essential)
            except DocumentChanged as changed:
                # The answer to the first try of this same write may have been lost.
                same = Document(request.expected_version + 1, request.content)
                return self._store.documents.of(number).get(request.name) == same, changed.version
            return True, made.version

        written, version = await self._commits.between(write)
        return shard_pb2.WriteDocumentResponse(written=written, version=version)
