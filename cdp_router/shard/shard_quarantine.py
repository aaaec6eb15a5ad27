"""The quarantine of a shard's partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from cdp.v1 import shard_pb2

from cdp_router.identity.batch_links import without_records
from cdp_router.shard.checks import check_cluster
from cdp_router.shard.commits import Commits
from cdp_store.arrays import Bools
from cdp_store.ids import PartitionId
from cdp_store.partition.quarantine import (
    QuarantineChange,
    Quarantined,
    decode_quarantine_change,
    encode_quarantine_change,
)
from cdp_store.reading.taken_before import taken_before
from cdp_store.shard.store import Store

CheckEpochs = Callable[[Iterable[tuple[int, int]]], None]


class ShardQuarantine:
    """Keeps records that broke a rule, releases them, and shows them."""

    def __init__(self, store: Store, commits: Commits, check_epochs: CheckEpochs) -> None:
        self._store, self._commits, self._check_epochs = store, commits, check_epochs

    async def change(self, request: shard_pb2.ChangeQuarantineRequest) -> shard_pb2.ChangeQuarantineResponse:
        """Keeps records, or releases some; repeating the request changes nothing."""
        check_cluster(self._store, request.cluster)
        change = decode_quarantine_change(request.change)

        def work() -> tuple[bool, list[int]]:
            self._check_epochs([(request.partition, request.epoch)])
            # Looked up between commits: a batch with these records may have been taken while this change was on its
            # way.
            taken = self._taken(request, change)
            if not taken.any():
                return self._store.quarantine(PartitionId(request.partition), change), []
            assert isinstance(change, Quarantined), "a release has no records of its own"
            links = without_records(change.links, change.batch, taken)
            left = replace(change.take(~taken), links=links)
            done = not len(left) or self._store.quarantine(PartitionId(request.partition), left)
            return done, np.flatnonzero(taken).tolist()

        done, taken = await self._commits.between(work)
        return shard_pb2.ChangeQuarantineResponse(done=done, taken=taken)

    def _taken(self, request: shard_pb2.ChangeQuarantineRequest, change: QuarantineChange) -> Bools:
        """Mask of records to quarantine that were accepted, or quarantined, before: bool[n].

        Message ids identify them. A record without one is known if its batch was accepted and an equal event is here.
        """
        nothing: Bools = np.zeros(0, np.bool_)
        if not isinstance(change, Quarantined):
            return nothing
        partition = self._store.partitions[PartitionId(request.partition)]
        taken = partition.message_ids.met(change.batch)
        batch = replace(change.batch, batch_id=request.batch_id)
        return taken if partition.known_batch(batch) is None else taken | taken_before(partition, change.batch)

    async def read(self, request: shard_pb2.ReadQuarantineRequest) -> shard_pb2.ReadQuarantineResponse:
        """The first entry from a position on."""
        check_cluster(self._store, request.cluster)
        self._check_epochs([(request.partition, request.epoch)])
        # An immutable value: read on the event loop without a lock, while the commit thread may put another in its
        # place.
        held = self._store.partitions[PartitionId(request.partition)].quarantine
        found = min((at for at in held.entries if at >= request.from_sequence), default=None)
        if found is None:
            return shard_pb2.ReadQuarantineResponse(total=len(held))
        entry = encode_quarantine_change(held.entries[found])
        return shard_pb2.ReadQuarantineResponse(sequence=found, entry=entry, total=len(held))
