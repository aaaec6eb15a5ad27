"""The giver's side of a move: copy, tail, release, forget; each may be repeated and does nothing twice."""

from __future__ import annotations

import secrets
from functools import partial

from cdp.v1 import partition_pb2 as pb

from cdp_router.cluster.partition_map import claim_of
from cdp_router.errors import WrongEpoch
from cdp_router.limits import EXPORT_PIECE_BYTES
from cdp_router.shard.checks import check_cluster
from cdp_router.shard.commits import Commits
from cdp_router.shard.snapshots import Snapshots
from cdp_store.directory.holdings import Holding, HoldingState
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.outside.seams import Clock
from cdp_store.shard.handover import Giving
from cdp_store.shard.store import Store
from cdp_store.snapshot.manifest import encode_manifest


class Giver:
    """Gives partitions of one store away."""

    def __init__(self, store: Store, giving: Giving, commits: Commits, snapshots: Snapshots, clock: Clock) -> None:
        self._store, self._giving, self._clock = store, giving, clock
        self._commits, self._snapshots = commits, snapshots

    async def export(self, request: pb.ExportPartitionRequest) -> pb.ExportPartitionResponse:
        """Starts to keep log entries, and copies the partition."""
        check_cluster(self._store, request.cluster)
        number, export_id = PartitionId(request.partition), secrets.token_hex(8)

        def begin() -> None:
            self._check(number, request.epoch, request.to_shard)
            self._giving.begin(number)

        # The tail is opened before the snapshot is taken: what is logged in between is in both, and the taker passes
        # over what it has; the other way round it would be in neither.
        await self._commits.between(begin)
        # In the thread of snapshots: no other one may remove its files before they are copied.
        work = partial(self._giving.export, number, export_id, self._clock.now_ms())
        manifest = await self._snapshots.run(work)
        return pb.ExportPartitionResponse(export_id=export_id, manifest=encode_manifest(manifest))

    async def read_export(self, request: pb.ReadExportRequest) -> pb.ReadExportResponse:
        """A piece of a file of a copy; empty at its end."""
        check_cluster(self._store, request.cluster)
        number = PartitionId(request.partition)
        data = self._giving.read(number, request.export_id, request.file, request.offset, EXPORT_PIECE_BYTES)
        return pb.ReadExportResponse(data=data)

    async def read_tail(self, request: pb.ReadTailRequest) -> pb.ReadTailResponse:
        """Some of the log entries after a sequence number."""
        check_cluster(self._store, request.cluster)
        number, after = PartitionId(request.partition), SequenceNumber(request.after)
        # Between commits, so that the entries and the position belong to one moment: their difference shows the taker
        # how many entries it still lacks.
        entries, sequence = await self._commits.between(partial(self._giving.tail, number, after))
        records = [pb.TailRecord(sequence=each.sequence, kind=each.kind, payload=each.payload) for each in entries]
        return pb.ReadTailResponse(records=records, sequence=sequence)

    async def release(self, request: pb.ReleasePartitionRequest) -> pb.ReleasePartitionResponse:
        """Gives the partition away: from here on nothing is accepted or answered for it."""
        check_cluster(self._store, request.cluster)
        number = PartitionId(request.partition)

        def release() -> SequenceNumber:
            # The answer to the first request may have been lost. Nothing was taken since, so that the position is the
            # same.
            if self._check(number, request.epoch, request.to_shard).state is HoldingState.RELEASED:
                return self._store.partitions[number].sequence
            return self._giving.release(number, request.epoch, request.to_shard)

        sequence = await self._commits.between(release)
        # Read after the release, from which on nobody writes them: the taker gets the last version of each.
        documents = [
            pb.PartitionDocument(name=name, version=each.version, content=each.content)
            for name, each in self._store.documents.of(number).items()
        ]
        return pb.ReleasePartitionResponse(sequence=sequence, documents=documents)

    async def forget(self, request: pb.ForgetPartitionRequest) -> pb.ForgetPartitionResponse:
        """Drops a partition that was released at this epoch; any other request is outdated and changes nothing."""
        check_cluster(self._store, request.cluster)
        number = PartitionId(request.partition)

        def forget() -> None:
            holding = self._store.holdings.get(number)
            # A late repeat must not drop a partition that has come back since, at a higher epoch.
            if holding is not None and (holding.state, holding.epoch) == (HoldingState.RELEASED, request.epoch):
                self._giving.forget(number, holding.epoch, holding.shard)

        await self._commits.between(forget)
        return pb.ForgetPartitionResponse()

    def _check(self, number: PartitionId, epoch: int, shard: int) -> Holding:
        """The holding, if that shard may take the partition over at this epoch; otherwise raises WrongEpoch."""
        holding = self._store.holdings.get(number)
        if holding is not None:
            # Exactly one epoch on: of two takers that ask at once, the second finds another epoch, or another shard.
            is_owner = holding.state is HoldingState.OWNED and holding.epoch == epoch - 1
            is_released = (holding.state, holding.epoch, holding.shard) == (HoldingState.RELEASED, epoch, shard)
            if is_owner or is_released:
                return holding
        raise WrongEpoch([] if holding is None else [claim_of(self._store.identity.shard, number, holding)])
