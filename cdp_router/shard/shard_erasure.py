"""Erasure at a shard: erases, refuses late records, and searches for remains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from cdp.v1 import admin_pb2, shard_pb2

from cdp_router.errors import RequestInvalid
from cdp_router.shard.checks import check_cluster
from cdp_router.shard.commits import Commits
from cdp_router.shard.person_pages import encoded
from cdp_router.shard.snapshots import Snapshots
from cdp_router.shard.upkeep import Upkeep
from cdp_store.arrays import U64
from cdp_store.ids import PartitionId
from cdp_store.limits import ERASED_VALUES_MAX
from cdp_store.log.controls import FINGERPRINT_BYTES, Suppression
from cdp_store.outside.seams import Clock
from cdp_store.partition.suppressions import Suppressions
from cdp_store.reading.absence import Scan, scan_files, scan_memory
from cdp_store.reading.held import Held, held_of
from cdp_store.reading.person_values import text_hashes
from cdp_store.reading.value_absence import ValueScan, scan_values
from cdp_store.shard.store import Store

CheckEpochs = Callable[[Iterable[tuple[int, int]]], None]


class _Erased(NamedTuple):
    """Result of an erasure: what was held, the hashes of its texts, the log position, and the profiles erased."""

    held: Held
    values: U64
    sequence: int
    profiles: int


class ShardErasing:
    """Erases, suppresses and proves."""

    def __init__(
        self,
        store: Store,
        commits: Commits,
        upkeep: Upkeep,
        snapshots: Snapshots,
        clock: Clock,
        check_epochs: CheckEpochs,
    ) -> None:
        self._store, self._commits, self._upkeep, self._snapshots = store, commits, upkeep, snapshots
        self._clock, self._check_epochs = clock, check_epochs

    async def erase(self, request: shard_pb2.EraseProfilesRequest) -> shard_pb2.EraseProfilesResponse:
        """Erases profiles: logged and out of every answer when this returns, out of memory soon after."""
        check_cluster(self._store, request.cluster)
        identifiers, number = (
            [encoded(identifier) for identifier in request.identifiers],
            PartitionId(request.partition),
        )

        def erase() -> tuple[U64, _Erased | None]:
            self._check_epochs([(request.partition, request.epoch)])
            partition = self._store.partitions[number]
            strays = partition.identity.seats.lowers_under(identifiers)
            if request.must_be_alone and strays.size:
                return strays, None
            # Counted in the same step as the erasure: nothing of the person can come or go between the two.
            held = held_of(partition, identifiers)
            values = text_hashes(partition, identifiers) if request.with_values else np.zeros(0, np.uint64)
            done = self._store.erase(number, identifiers, must_remember=request.must_remember)
            return strays, _Erased(held, values, *done)

        strays, done = await self._commits.between(erase)
        if done is None:
            return shard_pb2.EraseProfilesResponse(strays=strays.tolist(), refused=True)
        # Out of answers already; this takes it out of memory.
        self._upkeep.maintain_soon()
        held, values = done.held, done.values
        told = admin_pb2.ErasedPartition(
            partition=number,
            sequence=done.sequence,
            profiles=held.profiles,
            identifiers=held.identifiers,
            events=held.events,
            changes=held.changes,
            bindings=held.bindings,
        )
        return shard_pb2.EraseProfilesResponse(
            sequence=done.sequence,
            erased=done.profiles,
            partition=told,
            values=values[:ERASED_VALUES_MAX].tolist(),
            value_count=values.shape[0],
            strays=strays.tolist(),
        )

    async def change_suppressions(
        self, request: shard_pb2.ChangeSuppressionsRequest
    ) -> shard_pb2.ChangeSuppressionsResponse:
        """Refuses records under identifiers, or accepts them again; without either, returns the refused ones."""
        check_cluster(self._store, request.cluster)
        asked = [(each.partition, each.epoch) for each in request.partitions]
        if not asked:
            raise RequestInvalid("partitions", "none is given")
        for name, part in (("added", request.added), ("lifted", request.lifted)):
            if any(len(each) != FINGERPRINT_BYTES for each in part):
                raise RequestInvalid(name, f"a fingerprint has {FINGERPRINT_BYTES} bytes")
        change = Suppression(self._clock.now_ms(), tuple(request.added), tuple(request.lifted))
        changed, known = await self._commits.between(partial(self._changed, asked, change))
        told = () if change else known
        kept = [shard_pb2.KeptSuppression(fingerprint=each, since_ms=since) for each, since in told]
        return shard_pb2.ChangeSuppressionsResponse(changed=changed, suppressions=kept)

    async def scan(self, request: shard_pb2.ScanForIdentifiersRequest) -> shard_pb2.ScanForIdentifiersResponse:
        """Searches for identifiers in memory, and in files if requested."""
        check_cluster(self._store, request.cluster)
        identifiers = [encoded(each) for each in request.identifiers]
        if request.with_files:
            # What waits for a purge would be found: gone from answers, but not from memory.
            await self._upkeep.purge_now()
        values = np.array(request.values, np.uint64)
        # In the thread of snapshots: no file is written or removed while they are read.
        scan, shared = await self._snapshots.run(partial(self._scanned, identifiers, values, request.with_files))
        return shard_pb2.ScanForIdentifiersResponse(
            scan=admin_pb2.AbsenceScan(
                shard=self._store.identity.shard,
                structures=scan.structures,
                files=scan.files,
                bytes=scan.bytes,
                found=scan.found,
                equal_texts=scan.equal_texts,
                shared_values=shared,
            )
        )

    def _changed(self, asked: list[tuple[int, int]], change: Suppression) -> tuple[bool, Suppressions]:
        self._check_epochs(asked)
        numbers = [PartitionId(number) for number, _ in asked]
        held = [self._store.partitions[number].suppressions for number in numbers]
        # What is in force already is not logged again, so that a router may repeat a change until all shards have it.
        is_news = any(each.news(change) for each in held)
        if is_news:
            self._store.suppress(change, numbers)
        return is_news, max(held, key=len)

    def _scanned(self, identifiers: list[bytes], values: U64, with_files: bool) -> tuple[Scan, int]:
        """Places of identifiers and texts, and the number of values that others use too."""
        partitions = tuple(self._store.partitions.values())
        scan = scan_memory(partitions, identifiers)
        if with_files:
            files = scan_files(self._store.directory, identifiers)
            scan.files, scan.bytes = files.files, scan.bytes + files.bytes
            scan.found += files.found
            scan.equal_texts += files.equal_texts
        texts = scan_values(partitions, self._store.directory, values) if with_files else ValueScan()
        scan.found += [each for each in texts.found if each not in scan.found]
        return scan, texts.shared.shape[0]
