"""The quarantine of a shard's partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdp.v1 import shard_pb2

from cdp_router.shard_checks import check_cluster
from cdp_router.shard_commits import Commits
from cdp_store.ids import PartitionId
from cdp_store.quarantine import decode_quarantine_change, encode_quarantine_change
from cdp_store.store import Store

CheckEpochs = Callable[[Iterable[tuple[int, int]]], None]


class ShardQuarantine:
    """Keeps records that broke a rule, lets them go, and shows them."""

    def __init__(self, store: Store, commits: Commits, check_epochs: CheckEpochs) -> None:
        self._store, self._commits, self._check_epochs = store, commits, check_epochs

    async def change(self, request: shard_pb2.ChangeQuarantineRequest) -> shard_pb2.ChangeQuarantineResponse:
        """Keep records, or let some go; the same again changes nothing."""
        check_cluster(self._store, request.cluster)
        change = decode_quarantine_change(request.change)

        def work() -> bool:
            self._check_epochs([(request.partition, request.epoch)])
            return self._store.quarantine(PartitionId(request.partition), change)

        return shard_pb2.ChangeQuarantineResponse(done=await self._commits.between(work))

    async def read(self, request: shard_pb2.ReadQuarantineRequest) -> shard_pb2.ReadQuarantineResponse:
        """The first entry from a position on."""
        check_cluster(self._store, request.cluster)
        self._check_epochs([(request.partition, request.epoch)])
        held = self._store.partitions[PartitionId(request.partition)].quarantine
        found = min((at for at in held.entries if at >= request.from_sequence), default=None)
        if found is None:
            return shard_pb2.ReadQuarantineResponse(total=len(held))
        entry = encode_quarantine_change(held.entries[found])
        return shard_pb2.ReadQuarantineResponse(sequence=found, entry=entry, total=len(held))
