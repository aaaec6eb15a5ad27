"""A shard's data: its partitions, their common log, and the commit of groups of batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cdp_store.columns.arena import HashKey
from cdp_store.directory.documents import Documents
from cdp_store.directory.holdings import Holdings, HoldingState
from cdp_store.directory.shard_directory import ShardIdentity, lock_directory, log_path, snapshots_path
from cdp_store.errors import BatchTooLarge, FilesNotRemoved, LogCorrupt, RecordNotReplayed, StorageFull, StoreError
from cdp_store.fuse import Fuse
from cdp_store.identity.admitting import to_log
from cdp_store.identity.identity_changes import Departure, IdentityChange, Links, Seating, TakenElsewhere
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import (
    BUCKET_CHUNKS_MAX,
    DELTA_EVENTS_MAX,
    ERASED_ROWS_MAX,
    IDLE_BUCKET_CHUNKS_MAX,
    IDLE_DELTA_EVENTS_MAX,
    LOG_SEGMENT_BYTES,
    QUARANTINE_BYTES_MAX,
    TIME_MIN_MS,
)
from cdp_store.log.controls import (
    Erasure,
    Suppression,
    encode_erasure,
    encode_suppression,
)
from cdp_store.log.format import LogEntry, LogRecord, RecordKind
from cdp_store.log.local import LocalLog
from cdp_store.log.segment_reader import BEHIND_ALL, Positions, segments
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.heap import release_free_memory
from cdp_store.outside.sealed import key_fingerprint
from cdp_store.outside.seams import Files
from cdp_store.outside.whole_files import leftovers, remove_leftovers
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import QuarantineChange, Released, encode_quarantine_change
from cdp_store.shard.admission import Delivery, Outcome, Pending, admit, apply_pending, log_entry
from cdp_store.shard.link_admission import fresh_links
from cdp_store.shard.logged import Logged, apply_logged
from cdp_store.shard.shard_files import check_without_snapshot, open_directory, settle_files
from cdp_store.shard.tails import Tails
from cdp_store.snapshot.cold.log_reading import LogReading
from cdp_store.snapshot.cold.reading import Receipts, read_receipts
from cdp_store.snapshot.keeper import Loaded, ShardSnapshots, Taken, Verification
from cdp_store.snapshot.manifest import Manifest
from cdp_store.snapshot.places import LocalPlace

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Recovery:
    """Report of a start: bytes of a torn write cut off the log, and damaged snapshots that were skipped."""

    bytes_cut: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PurgedFiles:
    """Result of a purge of the files; `untouched` are files that salvages set aside, which people must remove."""

    taken: Taken
    segments_removed: int
    untouched: tuple[Path, ...]


class Store:
    """Partitions of one shard over one log.

    `commit` and `maintain` each have one caller at a time; captures are free.
    """

    def __init__(
        self,
        directory: Path,
        identity: ShardIdentity,
        key: HashKey,
        files: Files,
        sync_mode: SyncMode = SyncMode.ALWAYS,
        segment_bytes: int | None = None,
    ) -> None:
        # Files are marked with the key too: under another key, their hashes would have no meaning.
        identity = msgspec.structs.replace(identity, key=key_fingerprint(key, identity.cluster))
        self.identity, self.sync_mode, self.directory, self.files = identity, sync_mode, directory, files
        self._lock_descriptor = lock_directory(directory)
        # One fuse for log, holdings and documents: if the state of any is in doubt, none may continue.
        self._fuse = Fuse()
        self._log = LocalLog(log_path(directory), files, segment_bytes or LOG_SEGMENT_BYTES, sync_mode, self._fuse)
        try:
            self._is_unsealed = open_directory(directory, identity, files)
            self.holdings = Holdings(directory, identity, files, self._fuse)
            self.documents = Documents(directory, identity, files, self._fuse, self._log.make_room)
            self.documents.check()
        except (StoreError, OSError):
            os.close(self._lock_descriptor)
            raise
        self._key = key
        self.partitions: Mapping[PartitionId, Partition] = {}  # set once recovered
        self.tails = Tails()
        self._staged: Mapping[PartitionId, Partition] = {}  # on their way in: part of snapshots, not of answers
        self._logged = LogReading(log_path(directory))
        self._cold_upto = 0  # bytes that the log has taken since the start
        self.snapshot_place = LocalPlace(snapshots_path(directory), files)
        self._snapshots = ShardSnapshots(self.snapshot_place, identity.cluster)

    def recover(self, progress: Progress) -> Recovery:
        """Loads the newest complete snapshot and replays the log after it; must run before the first commit."""
        loaded = self._snapshots.load(self._empty_partitions)
        self.partitions, problems = loaded.partitions, loaded.problems
        is_new = not segments(log_path(self.directory))
        try:
            cut = self._log.replay(self._replay, progress, self._starts(loaded))
        except LogCorrupt as error:
            if not problems or isinstance(error, RecordNotReplayed):
                raise
            raise LogCorrupt(error.path, error.offset, f"{error.reason}; and {'; '.join(problems)}") from error
        if loaded.snapshot is None and not is_new:
            check_without_snapshot(self.snapshot_place, self.holdings, problems)
        parts = (self.identity, self.holdings, self.documents, self.files)
        settle_files(self.directory, *parts, is_unsealed=self._is_unsealed)
        # Last: a refused start leaves every file as it was, for a salvage or a person.
        remove_leftovers(leftovers(self.directory), self.files)
        return Recovery(cut, problems)

    def snapshot(self, taken_ms: int) -> tuple[Taken, int]:
        """Writes a snapshot alongside reads and writes, one caller at a time: (its costs, log segments removed).

        Raises SnapshotFailed when it could not be written, FilesNotRemoved when a file it replaces cannot be removed.
        """
        self._cold_upto = self._log.appended_bytes
        held = {**self._staged, **self.partitions}
        taken = self._snapshots.take_snapshot(held, taken_ms, self._logged.rows, self.documents.of)
        return taken, self._trim(taken)

    @property
    def cold_backlog_bytes(self) -> int:
        """Bytes logged since cold columns were last moved from the log to files."""
        return self._log.appended_bytes - self._cold_upto

    def write_cold(self) -> tuple[str, ...]:
        """Writes cold columns of logged records ahead of the next snapshot; if it returns problems, nothing is kept.

        Runs like `snapshot`. Raises SnapshotFailed when files could not be written.
        """
        self._cold_upto = self._log.appended_bytes
        held = {**self._staged, **self.partitions}
        return self._snapshots.write_cold({number: each.sequence for number, each in held.items()}, self._logged.rows)

    def start_log_anew(self) -> None:
        """First step of `purge_files`: later records go to a new segment of the log.

        Runs like `commit`, never alongside it; raises the errors of `commit`.
        """
        self._log.roll()

    def purge_files(self, taken_ms: int) -> PurgedFiles:
        """Second step, run like `snapshot`: removes profiles that were erased before the first step from all files.

        A snapshot without them is written and read back. Then all other snapshots go, and the log before the first
        step. After a kill it can be repeated, and no acknowledged record is lost. Raises SnapshotFailed or
        SnapshotDamaged when nothing was removed, FilesNotRemoved when a file cannot be removed.
        """
        held = {**self._staged, **self.partitions}
        taken = self._snapshots.take_snapshot(held, taken_ms, self._logged.rows, self.documents.of, alone=True)
        removed = self._trim(taken)
        return PurgedFiles(taken, removed, tuple(self._log.quarantined()))

    def verify_snapshots(self) -> Verification:
        """Reads every file of the snapshots, loading nothing; not alongside `snapshot`."""
        return self._snapshots.verify()

    def receipts(
        self,
        partition: PartitionId,
        identifiers: Sequence[bytes],
        from_ms: int = TIME_MIN_MS,
        rows_max: int | None = None,
    ) -> Receipts:
        """Receipts of the records under encoded identifiers, for times from an instant on (see read_receipts).

        Reads files, alongside everything else; SnapshotDamaged when one of them is damaged.
        """
        held, log = self.partitions[partition], log_path(self.directory)
        return read_receipts(self._snapshots, self.snapshot_place, log, held, identifiers, from_ms, rows_max)

    def commit(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Logs a group with one sync, then applies it; outcomes in the order of the deliveries.

        Raises StorageFull when nothing was kept, StoreFailed when the process must stop.
        """
        # Decided before the log has any byte of it: whatever is logged is applied, now and at each replay.
        outcomes, pending = admit(self.partitions, deliveries)
        if pending:
            with self.logged([log_entry(entry) for entry in pending]):
                apply_pending(self.partitions, pending)
        return outcomes

    def change_identity(self, partition: PartitionId, change: IdentityChange) -> bool:
        """Logs and applies a change of identifiers; False where nothing of it is left to do, or not yet.

        Runs like `commit`, never alongside it; raises the errors of `commit`.
        """
        target = self.partitions[partition]
        match change:
            case Departure(to, moves):
                # Only the remainder is logged: a replay must not do twice what routers sent twice.
                change = Departure(to, target.identity.still_due(moves))
            case Links():
                change = fresh_links(target, change)
            case Seating():
                change = target.identity.seats.news(change)
            case TakenElsewhere():
                change = target.message_ids.unknown(change)
        logged = to_log(target.identity, change, partition)
        if logged is None:
            return False
        sequence = SequenceNumber(target.sequence + 1)
        with self.logged([log_entry(Pending(partition, sequence, logged))]):
            target.change_identity(logged, sequence)
        return True

    def erase(
        self, partition: PartitionId, identifiers: Sequence[bytes], *, must_remember: bool = False
    ) -> tuple[SequenceNumber, int]:
        """Logs the erasure of profiles and removes them from every answer: (position, number of profiles).

        With `must_remember` it is logged even if nothing is known of them: a link to them may be on its way. Runs like
        `commit`, never alongside it; raises the errors of `commit`. `purge` removes their remains in memory.
        """
        target = self.partitions[partition]
        known = [row for row in target.locate(identifiers)[1] if row is not None]
        is_linked = any(map(target.identity.knows, identifiers))
        is_known = bool(known) or is_linked or any(map(target.quarantine.names, identifiers))
        if not is_known and not must_remember:
            # A repeated erasure is not logged: the log would grow with every router that makes sure of it.
            return target.sequence, 0
        sequence = SequenceNumber(target.sequence + 1)
        payload = encode_erasure(Erasure(tuple(identifiers)))
        # Essential: on a full disk, an erasure may use the reserved space, since it will free space.
        with self.logged([LogEntry(partition, sequence, payload, RecordKind.ERASE)], essential=True):
            erased = target.erase(identifiers, sequence)
        return sequence, erased

    def suppress(self, change: Suppression, partitions: Iterable[PartitionId]) -> None:
        """Logs suppressions of identifiers, or their end, for partitions; those already in force are not logged.

        Runs like `commit`, never alongside it; raises the errors of `commit`.
        """
        changes = {number: self.partitions[number].suppressions.news(change) for number in partitions}
        sequences = {number: SequenceNumber(self.partitions[number].sequence + 1) for number in changes}
        entries = [
            LogEntry(number, sequences[number], encode_suppression(news), RecordKind.SUPPRESSION)
            for number, news in changes.items()
            if news
        ]
        if entries:
            with self.logged(entries, essential=True):
                for entry in entries:
                    self.partitions[entry.partition].suppress(changes[entry.partition], entry.sequence)

    def quarantine(self, partition: PartitionId, change: QuarantineChange) -> bool:
        """Logs and keeps records that broke a rule, or releases some; False where there is no room for them.

        A repeated change has no effect. Runs like `commit`, never alongside it; raises the errors of `commit`.
        """
        target = self.partitions[partition]
        if isinstance(change, Released):
            change = target.quarantine.news(change)
            if not change.records:
                return True
        elif target.known_batch(change.batch) is not None:
            return True
        elif target.quarantine.nbytes + change.nbytes > QUARANTINE_BYTES_MAX:
            return False
        sequence = SequenceNumber(target.sequence + 1)
        entry = LogEntry(partition, sequence, encode_quarantine_change(change), RecordKind.QUARANTINE)
        with self.logged([entry], essential=isinstance(change, Released)):
            target.quarantine_records(change, sequence)
        return True

    @contextmanager
    def logged(self, entries: Sequence[LogEntry], *, essential: bool = False) -> Iterator[None]:
        """Logs entries with one sync (see LocalLog.append), keeps them for takers of partitions, and runs the block.

        The block applies the entries to memory. If it fails, the log has entries that memory lacks, and the next ones
        would get the same numbers. So after any failure the store has failed: StoreFailed, until a start has replayed
        the log.
        """
        with self._fuse.whole("doing what was logged", harmless=(StorageFull, BatchTooLarge)):
            self._log.append(entries, essential=essential)
            # After the log: a taker must not receive what this shard could lose in a crash.
            self.tails.note(entries)
            yield

    @property
    def log_bytes(self) -> int:
        """Bytes of the log's files."""
        return self._log.nbytes

    @property
    def newest_snapshot(self) -> Manifest | None:
        """The manifest of the most recent snapshot taken or loaded."""
        return self._snapshots.newest

    def empty_partition(self, partition: PartitionId) -> Partition:
        """An empty partition to load into."""
        return Partition(partition, self._key)

    def stage(self, partition: Partition, manifest: Manifest) -> None:
        """Makes a partition on its way in part of snapshots; it was loaded from files that are in place."""
        self._snapshots.adopt(manifest, partition)
        self._staged = {**self._staged, partition.partition: partition}

    def unstage(self, number: PartitionId, keep: Partition | None = None) -> None:
        """Drops a partition that was on its way in, or keeps it, since it is here."""
        if keep is not None:
            # Added here before it leaves `_staged`: a snapshot, which reads that first, never misses it.
            self.partitions = {**self.partitions, number: keep}
        self._staged = {other: held for other, held in self._staged.items() if other != number}

    def drop(self, number: PartitionId) -> None:
        """Releases a partition's memory."""
        self.partitions = {other: held for other, held in self.partitions.items() if other != number}

    def maintain(self, delta_max: int = DELTA_EVENTS_MAX, chunks_max: int = BUCKET_CHUNKS_MAX) -> bool:
        """Seals and compacts where due; True if anything was done. Runs alongside commits, one caller at a time."""
        # Here, off the path of an ack: it only narrows what a start has to treat as a torn write.
        self._log.sync_position()
        worked = [partition.maintain(delta_max, chunks_max) for partition in self.partitions.values()]
        return self.purge(ERASED_ROWS_MAX) or any(worked)

    def purge(self, erased_max: int = 0) -> bool:
        """Removes the remains of retention, or of more than `erased_max` erased profiles of a partition, from memory.

        True if there was anything. Expensive: a partition with remains is rebuilt. Runs like `maintain`.
        """
        purged = [partition.purge(erased_max) for partition in self.partitions.values()]
        return any(purged)

    @property
    def awaits_purge(self) -> bool:
        """True if `purge` would remove anything."""
        return any(partition.awaits_purge for partition in tuple(self.partitions.values()))

    def settle(self) -> bool:
        """Maintenance for idle times: leaves few chunks for queries, and no free space in arrays."""
        worked = self.maintain(IDLE_DELTA_EVENTS_MAX, IDLE_BUCKET_CHUNKS_MAX)
        release_free_memory()
        return worked

    def sync(self) -> None:
        """Makes committed records durable; needed only in SyncMode.INTERVAL. Never alongside `commit`."""
        self._log.sync()

    def close(self) -> None:
        """Closes the log and releases the directory."""
        self._log.close()
        os.close(self._lock_descriptor)

    def _trim(self, taken: Taken) -> int:
        try:
            self._log.remove_leftovers()
            gone = {number: held.state is HoldingState.GONE for number, held in self.holdings.all().items()}
            # No snapshot holds a partition that has left: its old records would keep segments for ever.
            never = {number: BEHIND_ALL for number, is_gone in gone.items() if is_gone}
            return self._log.trim({**taken.needed, **never})
        except OSError as error:
            raise FilesNotRemoved(log_path(self.directory), str(error)) from error

    def _starts(self, loaded: Loaded) -> Positions | None:
        """Positions where the replay of the log starts; records of partitions that are not here are skipped."""
        positions, held = loaded.positions(), loaded.partitions
        if positions is None:
            return None
        return {**{number: BEHIND_ALL for number in self.holdings.all() if number not in held}, **positions}

    def _empty_partitions(self) -> dict[PartitionId, Partition]:
        return {number: Partition(number, self._key) for number in self.holdings.in_memory()}

    def _replay(self, record: LogRecord) -> None:
        partition = self.partitions.get(record.partition)
        if partition is None:
            self.holdings.check_known(record.partition)
            return  # it was here for a while
        apply_logged(partition, Logged.decode(record))
        # During the replay too, or a long log would stay in memory unsealed, at several times its size.
        partition.maintain()
