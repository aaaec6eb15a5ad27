"""A partition's way from one store to another: the giver's side and the taker's.

Methods run in the one thread that writes to the log, unless their docstring names the thread of snapshots. Epochs, in
the layer above, decide which shard may take which step. Here each step is durable before it takes effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cdp_store.directory.documents import Document
from cdp_store.directory.holdings import Holding, HoldingState
from cdp_store.errors import ExportLost
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.format import LogEntry, LogRecord
from cdp_store.outside.seams import Files
from cdp_store.partition.partition import Partition
from cdp_store.shard.logged import Logged, apply_logged
from cdp_store.shard.store import Store
from cdp_store.snapshot.keeper import fill
from cdp_store.snapshot.manifest import Manifest
from cdp_store.snapshot.parts import only, renamed
from cdp_store.snapshot.places import LocalPlace
from cdp_store.snapshot.reader import check_file

EXPORTS_NAME: Final = "exports"
IMPORTS_NAME: Final = "imports"


class Giving:
    """Giver's side of a handover: serves the shard that takes a partition over."""

    def __init__(self, store: Store, files: Files) -> None:
        self._store, self._files = store, files
        self._exports = dict[PartitionId, tuple[str, Manifest]]()
        _empty(store.directory / EXPORTS_NAME, files)  # of moves before a restart: their takers begin again

    def begin(self, partition: PartitionId) -> None:
        """Keeps the partition's log entries from now on, since an export of it follows."""
        self._store.tails.open(partition, self._store.partitions[partition].sequence)

    def export(self, partition: PartitionId, export_id: str, now_ms: int) -> Manifest:
        """Takes a snapshot, and copies this partition's part of it; runs in the thread of snapshots."""
        self._store.snapshot(now_ms)
        whole = self._store.newest_snapshot
        assert whole is not None, "one was just taken"
        manifest, place = only(whole, partition), LocalPlace(self._folder(partition), self._files)
        self._exports.pop(partition, None)
        _empty(self._folder(partition), self._files)
        for name, file in manifest.files.items():
            place.write(name, check_file(self._store.snapshot_place, name, file))
        self._exports[partition] = (export_id, manifest)
        return manifest

    def read(self, partition: PartitionId, export_id: str, file: str, offset: int, size: int) -> bytes:
        """Bytes of a file of an export, fewer at its end; ExportLost when it is no longer there."""
        found = self._exports.get(partition)
        if found is None or found[0] != export_id or file not in found[1].files:
            raise ExportLost(partition)
        with (self._folder(partition) / file).open("rb") as opened:
            opened.seek(offset)
            return opened.read(size)

    def tail(self, partition: PartitionId, after: SequenceNumber) -> tuple[Sequence[LogEntry], SequenceNumber]:
        """Entries logged after `after`, or the first part of them, and the position of the partition."""
        self._store.sync()  # entries that a power loss could still remove must not be in another shard's log
        return self._store.tails.after(partition, after), self._store.partitions[partition].sequence

    def release(self, partition: PartitionId, epoch: int, shard: int) -> SequenceNumber:
        """Gives the partition up to the other shard: the step that decides a move."""
        # In the thread that writes: every batch before this is in the tail, every one after it is refused.
        self._store.holdings.change(partition, Holding(HoldingState.RELEASED, epoch, shard))
        return self._store.partitions[partition].sequence

    def forget(self, partition: PartitionId, epoch: int, shard: int) -> None:
        """Drops a partition that its taker holds durably."""
        # The durable record first, then memory: a start in between must not load a partition that has left.
        self._store.holdings.change(partition, Holding(HoldingState.GONE, epoch, shard))
        self._store.drop(partition)
        self.end(partition)

    def end(self, partition: PartitionId) -> None:
        """Stops keeping entries for a taker."""
        self._store.tails.close(partition)
        self._exports.pop(partition, None)
        _empty(self._folder(partition), self._files)

    def _folder(self, partition: PartitionId) -> Path:
        return self._store.directory / EXPORTS_NAME / f"p{partition:04d}"


class Taking:
    """Taker's side of a handover: takes a partition over from another shard."""

    def __init__(self, store: Store, files: Files) -> None:
        self._store, self._files = store, files
        _empty(store.directory / IMPORTS_NAME, files)

    def begin(self, partition: PartitionId, epoch: int, shard: int) -> None:
        """Remembers, through restarts, that the partition is on its way in."""
        self._store.holdings.change(partition, Holding(HoldingState.INCOMING, epoch, shard))

    def abandon(self, partition: PartitionId, claim: tuple[int, int]) -> bool:
        """Gives up a partition that is on its way in: at epoch claim[0] it belongs to shard claim[1].

        Runs between commits, as `own` does. False where the partition is no longer on its way in: a cancelled caller
        may have left an `own` behind that ran first.
        """
        held = self._store.holdings.get(partition)
        if held is None or held.state is not HoldingState.INCOMING:
            return False
        self._store.holdings.change(partition, Holding(HoldingState.GONE, *claim))
        self.drop(partition)
        return True

    def drop(self, partition: PartitionId) -> None:
        """Forgets the partition's contents here, but not that it is on its way in."""
        self._store.unstage(partition)
        self.clean(partition)

    def place(self, partition: PartitionId) -> LocalPlace:
        """Place for the files of its export."""
        return LocalPlace(self._folder(partition), self._files)

    def clean(self, partition: PartitionId) -> None:
        """Removes the files of its export."""
        _empty(self._folder(partition), self._files)

    def adopt(self, partition: PartitionId, export_id: str, manifest: Manifest, now_ms: int) -> Partition:
        """Loads the partition, and makes it part of this store's own snapshots; runs in the thread of snapshots.

        Both kept snapshots hold it afterwards, so that a start can go back to either.
        """
        source = self.place(partition)
        # Named after the export, or its files could have the names of an earlier attempt's or of this shard's own.
        own = renamed(manifest, f"{export_id}-")
        for (name, file), own_name in zip(manifest.files.items(), own.files, strict=True):
            self._store.snapshot_place.write(own_name, check_file(source, name, file))
        loaded = self._store.empty_partition(partition)
        fill({partition: loaded}, self._store.snapshot_place, own)
        self._store.stage(loaded, own)
        for _ in range(2):
            self._store.snapshot(now_ms)
        self.clean(partition)
        return loaded

    def receive(self, partition: Partition, records: Sequence[LogRecord]) -> None:
        """Logs and applies the giver's entries under its numbers; entries that are here already are skipped."""
        # The giver's snapshot was taken after the tail began, and each piece of a tail may be requested again.
        new = [record for record in records if record.sequence > partition.sequence]
        entries = [LogEntry(partition.partition, each.sequence, each.payload, each.kind) for each in new]
        # Decoded before they are logged: an unreadable entry must not enter a log that a start has to replay.
        meanings = [Logged.decode(record) for record in new]
        if entries:
            with self._store.logged(entries, essential=True):
                for logged in meanings:
                    apply_logged(partition, logged)

    def own(self, partition: Partition, epoch: int, documents: Mapping[str, Document]) -> None:
        """Takes ownership of the partition: the store has everything that its giver acknowledged."""
        # Documents, then the holding, then memory: the holding decides, and its preconditions are durable by then.
        self._store.documents.replace(partition.partition, documents)
        self._store.holdings.change(partition.partition, Holding(HoldingState.OWNED, epoch))
        self._store.unstage(partition.partition, keep=partition)

    def _folder(self, partition: PartitionId) -> Path:
        return self._store.directory / IMPORTS_NAME / f"p{partition:04d}"


def _empty(folder: Path, files: Files) -> None:
    """Removes the files below a folder that is this module's own."""
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file():
            files.remove(path)
