"""Error tree of the store.

StoreError
+-- BatchMalformed       bytes that are no record batch
+-- LogCorrupt           damage inside the log, not a torn tail
|   +-- RecordNotReplayed an intact log record, and the program fails whenever it replays it
+-- LogUnsupported       a log written by a newer version
+-- RecordUnsupported    a log record of a kind this version does not know
+-- RecordMisplaced      a log record of a partition that its shard never had
+-- SnapshotDamaged      a file of a snapshot is missing or not what its manifest says
+-- SnapshotUnsupported  a snapshot written by a newer version
+-- SnapshotFailed       a snapshot could not be written or copied; the data and earlier snapshots are as they were
+-- PlaceUnusable        where snapshots are to be copied to or read from cannot be used
+-- FilesNotRemoved      files that are not needed any more are still there; nothing else is touched by that
+-- NothingToRestore     a source without any usable snapshot
+-- InstantTooEarly      an instant before everything that a source of a restore holds
+-- PartitionElsewhere   a partition that came to its shard later than the instant that is to be restored
+-- ProfilesUnderway     profiles are between two partitions, which cannot be cut anew
+-- DocumentsNotDealtOut documents of one partition, which cannot be cut anew with its profiles
+-- DirectoryExists      a directory that would be overwritten
+-- KeysNotCarried       API keys of a directory that is to be replaced cannot be read
+-- DirectoryInUse       another process owns this data directory
+-- DirectoryMismatch    the directory was made with other settings
+-- DirectoryForeign     a place that is no data directory, and cannot become one
+-- DirectoryDamaged     a file that describes the directory cannot be read
+-- FileMissing          a file or directory that was there is missing
+-- FileUnsupported      a file or document that a newer version wrote
+-- FileOutdated         an earlier version of a file was put back in the place of the newest
+-- ClusterKeyMismatch   a shard's directory was made under another key than that of cluster.json
+-- StoreFailed          a write failed earlier: nothing is accepted any more
+-- StorageFull          no room for the batch; nothing of it was kept
+-- BatchTooLarge        a batch that would not fit one log record
+-- DocumentChanged      a document of the cluster stands at another version than its writer believes
+-- DocumentTooLarge     a document of the cluster that is larger than may be
+-- ExportLost           a copy of a partition that is not there any more; the taker begins again
+-- TailLost             what was logged since a copy is not kept any more; the taker begins again
+-- StructureBroken      a rule of the structures in memory does not hold: a fault of this program
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdp_store.remedies import remedy


class StoreError(Exception):
    """Base of every error that the store raises for faults of its inputs or surroundings."""


class BatchMalformed(StoreError):
    """Bytes offered as a record batch do not follow the format; `reason` names the place."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(f"malformed record batch: {reason}")
        self.reason, self.code = reason, code  # the code of the rule that one of its records breaks, if one does


class LogCorrupt(StoreError):
    """The log is damaged at `offset` of `path`, before its end."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"log file {path} is damaged at byte {offset}: {reason}. "
            "Nothing was loaded or changed; restore this file from a backup, or start with --salvage "
            "to set the damaged part aside and go on without it."
        )
        self.path, self.offset, self.reason = path, offset, reason


class RecordNotReplayed(LogCorrupt):
    """A log record is intact, and replaying it fails each time: a fault of this program or of its writer."""

    def __init__(self, path: Path, offset: int, kind: str, partition: int, sequence: int, problem: str) -> None:
        reason = (
            f"the record of kind {kind} (partition {partition}, sequence {sequence}) is intact, but cannot be "
            f"replayed: {problem}"
        )
        StoreError.__init__(
            self,
            f"log file {path}, byte {offset}: {reason}. Nothing was changed. This is a fault of the program, so please "
            "report it; start with the version that ran before, or with --salvage to set this record aside and go on "
            "without it.",
        )
        self.path, self.offset, self.reason = path, offset, reason
        self.kind, self.partition, self.sequence = kind, partition, sequence


class LogUnsupported(StoreError):
    """The log file carries a format version this program does not read."""

    def __init__(self, path: Path, version: int, supported: int) -> None:
        super().__init__(
            f"log file {path} has format version {version}; this program reads up to "
            f"{supported}. Start it with a newer version of the program."
        )
        self.path, self.version, self.supported = path, version, supported


class RecordUnsupported(StoreError):
    """The log holds a whole record of a kind this program does not know."""

    def __init__(self, path: Path, offset: int, kind: int) -> None:
        super().__init__(
            f"log file {path} holds a record of kind {kind} at byte {offset}, which this program does not know. "
            "Start it with the version of the program that wrote it, or a newer one."
        )
        self.path, self.offset, self.kind = path, offset, kind


class RecordMisplaced(StoreError):
    """A log record is of a partition that the shard never had: the log belongs to another shard."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"it is of partition {partition}, which this shard never had: the log is another shard's")
        self.partition = partition


class SnapshotDamaged(StoreError):
    """A file of a snapshot cannot be used."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"snapshot file {file} is damaged: {problem}")
        self.file, self.problem = file, problem


class SnapshotUnsupported(StoreError):
    """The snapshot carries a format version this program does not read."""

    def __init__(self, file: str, version: int, supported: int) -> None:
        super().__init__(
            f"snapshot {file} has format version {version}; this program reads up to {supported}. "
            "Use a newer version of the program."
        )
        self.file, self.version, self.supported = file, version, supported


class SnapshotFailed(StoreError):
    """A snapshot was not made; nothing else is affected."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"the snapshot was not made: {file}: {problem}. Data and earlier snapshots are as they were")
        self.file, self.problem = file, problem


class PlaceUnusable(StoreError):
    """A path or URI for writing or reading snapshots cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where} cannot be used: {problem}")
        self.where, self.problem = where, problem


class DirectoryForeign(StoreError):
    """A place is no data directory and cannot become one: a file, or a folder of something else."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} cannot be a data directory: {problem}. Nothing was changed; give another path with --data"
        )
        self.path, self.problem = path, problem


class FilesNotRemoved(StoreError):
    """Files that a snapshot has made superfluous could not be removed."""

    def __init__(self, directory: Path, problem: str) -> None:
        super().__init__(f"a file in {directory} is not needed any more and cannot be removed: {problem}. Try again")
        self.directory, self.problem = directory, problem


class NothingToRestore(StoreError):
    """A source of a restore has neither a usable snapshot nor a log."""

    def __init__(self, source: str, shard: int, is_limited: bool) -> None:
        which = " from before that instant" if is_limited else ""
        super().__init__(f"{source} holds no whole snapshot of shard {shard}{which}, and no log")
        self.source, self.shard = source, shard


class InstantTooEarly(StoreError):
    """A source of a restore holds snapshots, and a log, of later instants only."""

    def __init__(self, source: str, shard: int, earliest: str) -> None:
        super().__init__(
            f"shard {shard} of {source} reaches back to {earliest}, the earliest instant of its snapshots, and its log "
            f"begins behind it. Restore a later instant, or an older copy"
        )
        self.source, self.shard, self.earliest = source, shard, earliest


class PartitionElsewhere(StoreError):
    """A partition came to its shard later than the instant to restore."""

    def __init__(self, source: str, shard: int, partition: int) -> None:
        super().__init__(
            f"partition {partition} came to shard {shard} of {source} from another one later than that, and what it "
            "held then is not there any more; choose a later instant, or name the other partitions with --partition"
        )
        self.source, self.shard, self.partition = source, shard, partition


class ProfilesUnderway(StoreError):
    """Profiles are between two partitions, so that the number of partitions cannot be changed."""

    def __init__(self) -> None:
        super().__init__(
            "profiles were being moved to the persons they belong to when this was written; restore it into the same "
            "number of partitions, start that for a moment, and restore from there"
        )


class DocumentsNotDealtOut(StoreError):
    """Documents of one partition cannot follow its profiles into another number of partitions."""

    def __init__(self, partition: int, names: Sequence[str]) -> None:
        super().__init__(
            f"partition {partition} keeps {', '.join(names)}, which cannot be cut in another way; restore into the "
            "same number of partitions"
        )
        self.partition, self.names = partition, names


class DirectoryExists(StoreError):
    """The directory is not empty, and the command does not allow replacing it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not empty; choose another directory, or give --overwrite to replace it")
        self.path = path


class KeysNotCarried(StoreError):
    """The directory that a restore would replace had API keys, which cannot be carried over."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"the API keys in {path} cannot be carried into the restored directory ({problem}), and without keys "
            "everybody is let in. Nothing was changed; restore this file from a backup, replace it with `cdp keys "
            "create`, or give the keys up with `cdp keys disable`"
        )
        self.path, self.problem = path, problem


class DirectoryInUse(StoreError):
    """Another live process holds the lock of `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use by another process; stop it or choose another directory")
        self.path = path


class DirectoryMismatch(StoreError):
    """The directory belongs to a cluster with other settings."""

    def __init__(self, path: Path, what: str, found: object, wanted: object) -> None:
        is_option = isinstance(found, int) and what in ("shards", "partitions")
        remedy = (
            f"leave --{what} out, or restore into another number with `cdp restore --{what}`"
            if is_option
            else "put the directory of this cluster and shard in its place, or the cluster.json that it was made with"
        )
        super().__init__(
            f"{path} was made with {what} {found}, but {wanted} was asked for. Nothing was changed; {remedy}"
        )
        self.path, self.what, self.found, self.wanted = path, what, found, wanted


class DirectoryDamaged(StoreError):
    """A file that describes a data directory cannot be read."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} is damaged: {problem}. Nothing was changed; {remedy(path)}")
        self.path, self.problem = path, problem


class FileMissing(DirectoryDamaged):
    """A file or directory that must exist is missing; `remedy` says how to continue."""

    def __init__(self, path: Path, remedy: str) -> None:
        StoreError.__init__(self, f"{path} is missing, though it was there before; {remedy}")
        self.path, self.problem = path, "it is missing"


class FileOutdated(DirectoryDamaged):
    """A file is whole, but an earlier version of itself; `remedy` says how to continue."""

    def __init__(self, path: Path, found: int, known: int, remedy: str) -> None:
        problem = f"it is an earlier version, generation {found}; the newest one is generation {known}"
        StoreError.__init__(self, f"{path} was replaced: {problem}. Nothing was changed; {remedy}")
        self.path, self.problem, self.found, self.known = path, problem, found, known


class FileUnsupported(DirectoryDamaged):
    """A file or document is whole, but of a format that only a newer version reads."""

    def __init__(self, path: Path, version: int, supported: int) -> None:
        StoreError.__init__(
            self,
            f"{path} has format {version}, which a newer version of the program wrote; this one reads up to "
            f"{supported}. Nothing was changed; start it with the newer version",
        )
        self.path, self.problem = path, f"a newer version of the program wrote it, in format {version}"
        self.version, self.supported = version, supported


class ClusterKeyMismatch(DirectoryDamaged):
    """A shard's directory was made under another key than that of cluster.json: identifiers would not be found."""

    def __init__(self, path: Path) -> None:
        StoreError.__init__(
            self,
            f"{path} was made under another key than the one in cluster.json, so its data could not be found again. "
            "Nothing was changed; restore the cluster.json of this cluster from a backup or another of its machines",
        )
        self.path, self.problem = path, "it was made under another key"


class StoreFailed(StoreError):
    """An earlier write or sync failed; the process must be restarted to recover from its log."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"this shard stopped accepting data after a failed write: {cause}")
        self.cause = cause


class StorageFull(StoreError):
    """The log could not grow; the batch was rolled back and may be sent again later."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"no room to log the batch in {path} ({cause}); nothing of it was kept")
        self.path, self.cause = path, cause


class BatchTooLarge(StoreError):
    """A batch is larger than one log record may be; it must be split and sent again."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a batch of {size} bytes is over the limit of {limit}; send smaller batches")
        self.size, self.limit = size, limit


class DocumentChanged(StoreError):
    """A document was replaced since its writer has read it; nothing was changed."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"the document {name!r} stands at version {version}; read it again")
        self.name, self.version = name, version


class DocumentTooLarge(StoreError):
    """A document exceeds its size limit; nothing was changed."""

    def __init__(self, name: str, size: int, limit: int) -> None:
        super().__init__(f"the document {name!r} would have {size} bytes, over the limit of {limit}")
        self.name, self.size, self.limit = name, size, limit


class ExportLost(StoreError):
    """The copy of a partition was replaced, or made before a restart."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"this copy of partition {partition} is not there any more; begin again")
        self.partition = partition


class TailLost(StoreError):
    """The log entries after `sequence` are no longer kept for a taker."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"what was logged behind {sequence} is not kept any more; begin again")
        self.sequence = sequence


class StructureBroken(StoreError):
    """A structure in memory breaks one of its rules: a fault of this program, not of the data."""

    def __init__(self, structure: str, problem: str) -> None:
        super().__init__(f"{structure}: {problem}. The log is not affected; restart the shard and report this.")
        self.structure, self.problem = structure, problem
