"""A shard's snapshots: written, kept (the two newest), found again, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cdp_store.errors import PlaceUnusable, SnapshotDamaged
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import SNAPSHOTS_KEPT
from cdp_store.log.segment_reader import Positions
from cdp_store.partition.partition import Partition
from cdp_store.snapshot.cold.logged_rows import ColdReader
from cdp_store.snapshot.manifest import SUFFIX, FileEntry, Manifest, encode_manifest, manifest_name
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.reader import PartitionReader, check_file, read_manifest, snapshot_numbers
from cdp_store.snapshot.writer import ReadDocuments, SnapshotWriter

Partitions = Mapping[PartitionId, Partition]


@dataclass(frozen=True, slots=True)
class Taken:
    """Cost of a snapshot of these partitions. The log is needed after `needed` only."""

    number: int
    files_written: int
    bytes_written: int
    files_shared: int
    bytes_shared: int
    needed: Mapping[PartitionId, SequenceNumber]
    snapshots_removed: int
    partitions: tuple[PartitionId, ...]
    problems: tuple[str, ...] = ()  # cold columns that could not be read: the snapshot goes without them


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that differs from what its snapshot states; `number` is the newest snapshot that needs it."""

    number: int
    file: str
    problem: str


@dataclass(slots=True)
class Verification:
    """Findings of reading every file of every snapshot."""

    snapshots: int = 0
    files: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Partitions as in a snapshot, empty if `snapshot` is None (no whole one exists), and why newer snapshots were
    passed over.
    """

    partitions: dict[PartitionId, Partition]
    snapshot: int | None
    problems: tuple[str, ...]

    def positions(self) -> dict[PartitionId, SequenceNumber] | None:
        """Positions from which the log continues, None without a snapshot."""
        if self.snapshot is None:
            return None
        return {number: partition.sequence for number, partition in self.partitions.items()}


class ShardSnapshots:
    """The snapshots of one shard in one place; one caller at a time."""

    def __init__(self, place: SnapshotPlace, cluster: str) -> None:
        self._place, self._cluster = place, cluster
        self._writer = SnapshotWriter(place, cluster)
        self._next = 1
        self._damaged = set[int]()  # snapshots that a start passed over
        self.newest: Manifest | None = None  # the last one written or loaded; its files stay until two more are written

    def load(self, make: Callable[[], dict[PartitionId, Partition]]) -> Loaded:
        """Fills partitions from the newest whole snapshot."""
        numbers, problems = snapshot_numbers(self._place), list[str]()
        self._next = max(numbers, default=0) + 1
        for number_found in numbers:
            try:
                manifest = read_manifest(self._place, number_found)
                if manifest.cluster != self._cluster:
                    raise SnapshotDamaged(manifest_name(number_found), f"it is of the cluster {manifest.cluster}")
                partitions = make()
                fill(partitions, self._place, manifest)
                self._check_own_cold(manifest, [each for each in numbers if each < number_found])
            except SnapshotDamaged as error:
                problems.append(str(error))
                self._damaged.add(number_found)
                continue
            self._writer.adopt(manifest, {number: partition.export() for number, partition in partitions.items()})
            self.newest = manifest
            return Loaded(partitions, number_found, tuple(problems))
        return Loaded(make(), None, tuple(problems))

    def adopt(self, manifest: Manifest, partition: Partition) -> None:
        """Shares the files, which are in place, of a partition just loaded from them; never concurrent with `take`."""
        self._writer.adopt(manifest, {partition.partition: partition.export()})

    def _check_own_cold(self, manifest: Manifest, older: list[int]) -> None:
        """Checks the cold files that the next older snapshot lacks: it and the log after it could replace them."""
        if not older:
            return
        try:
            spared = read_manifest(self._place, older[0]).files
        except SnapshotDamaged:
            return
        for name in (name for entry in manifest.partitions for name in entry.cold if name not in spared):
            check_file(self._place, name, manifest.files[name])

    def take_snapshot(
        self,
        partitions: Partitions,
        taken_ms: int,
        read_cold: ColdReader,
        documents: ReadDocuments,
        *,
        alone: bool = False,
    ) -> Taken:
        """Writes and publishes a snapshot and removes those older than the two newest; `alone`: all other snapshots.

        Before removing all others it reads the new one back, and raises SnapshotDamaged unless it is whole.
        """
        captures = [(number, partition.export) for number, partition in partitions.items()]
        written = self._writer.write(self._next, taken_ms, captures, read_cold, documents)
        manifest = written.manifest
        self._place.publish(manifest_name(self._next), encode_manifest(manifest))
        self._writer.finish()
        self.newest = manifest
        self._next += 1
        if alone:
            for name, entry in manifest.files.items():
                check_file(self._place, name, entry)
        wanted, before = 1 if alone else SNAPSHOTS_KEPT, len(snapshot_numbers(self._place))
        kept = self._prune(wanted)
        oldest = kept[-1] if len(kept) >= wanted else None
        total = sum(entry.bytes for entry in manifest.files.values())
        return Taken(
            manifest.number,
            written.files_written,
            written.bytes_written,
            len(manifest.files) - written.files_written,
            total - written.bytes_written,
            positions(oldest) if oldest is not None else {},
            before - len(kept),
            tuple(partitions),
            written.problems,
        )

    def write_cold(self, end: Positions, read_cold: ColdReader) -> tuple[str, ...]:
        """Writes the cold columns of log records up to `end` ahead of the next snapshot; returns the problems, with
        which it keeps nothing.

        No manifest names the files before that snapshot's: a kill at any point is as if they had never existed.
        """
        return self._writer.write_cold(self._next, end, read_cold)

    def verify(self) -> Verification:
        """Reads every file of every snapshot once and compares it with its checksum."""
        found, seen = Verification(), set[str]()
        for number in snapshot_numbers(self._place):
            found.snapshots += 1
            try:
                manifest = read_manifest(self._place, number)
            except SnapshotDamaged as error:
                found.problems.append(Problem(number, manifest_name(number), error.problem))
                continue
            for name, entry in manifest.files.items():
                if name in seen:
                    continue
                seen.add(name)
                found.files, found.bytes = found.files + 1, found.bytes + entry.bytes
                try:
                    check_file(self._place, name, entry)
                except SnapshotDamaged as error:
                    found.problems.append(Problem(number, name, error.problem))
        return found

    def _prune(self, wanted: int) -> list[Manifest]:
        """Removes whatever the given number of newest whole snapshots do not need; returns those, newest first."""
        kept, names = list[Manifest](), self._place.names()
        for number in (each for each in snapshot_numbers(self._place) if each not in self._damaged):
            try:
                manifest = read_manifest(self._place, number)
            except SnapshotDamaged:
                continue
            if len(kept) < wanted:
                kept.append(manifest)
        needed = {manifest_name(manifest.number) for manifest in kept}
        needed.update(name for manifest in kept for name in manifest.files)
        superfluous = sorted(set(names) - needed)
        # Manifests go first, durably: a manifest that exists has all its files.
        for is_manifest in (True, False):
            going = [name for name in superfluous if name.endswith(SUFFIX) is is_manifest]
            for name in going:
                self._place.remove(name)
            if going or not is_manifest:
                self._place.settle()
        return kept


def fill(
    partitions: Partitions,
    place: SnapshotPlace,
    manifest: Manifest,
    done: Callable[[PartitionId], None] = lambda _: None,
) -> None:
    """Loads the partitions, which are empty, from a snapshot that holds them all; calls `done` for each."""
    entries = {entry.partition: entry for entry in manifest.partitions}
    for number, partition in partitions.items():
        entry = entries.get(number)
        if entry is None:
            raise SnapshotDamaged(manifest_name(manifest.number), f"it does not hold partition {number}")
        reader = PartitionReader(place, manifest, entry)
        partition.load(reader.parts(), reader.ids(), reader.batches)
        partition.load_identity(reader.identity)
        done(number)


def positions(manifest: Manifest) -> dict[PartitionId, SequenceNumber]:
    """The log position of each partition that a snapshot includes."""
    return {PartitionId(entry.partition): SequenceNumber(entry.sequence) for entry in manifest.partitions}


def copy_snapshot(source: SnapshotPlace, target: SnapshotPlace, number: int) -> int:
    """Copies a snapshot with those of its files that `target` does not hold yet; returns the bytes copied.

    Raises PlaceUnusable when the target holds other snapshots by the same names.
    """
    manifest = read_manifest(source, number)
    held, copied = _files_held(target, manifest), 0
    for name, entry in manifest.files.items():
        # A file that no manifest names may be left by an interrupted copy: it is written again.
        if name not in held:
            target.write(name, check_file(source, name, entry))
            copied += entry.bytes
    target.settle()
    target.publish(manifest_name(number), encode_manifest(manifest))
    return copied


def _files_held(target: SnapshotPlace, wanted: Manifest) -> dict[str, FileEntry]:
    """The files of the snapshots in a place; none of them conflicts with a file of the snapshot to copy."""
    held = dict[str, FileEntry]()
    for number in snapshot_numbers(target):
        try:
            manifest = read_manifest(target, number)
        except SnapshotDamaged:
            continue
        held.update(manifest.files)
        if manifest.cluster != wanted.cluster:
            raise PlaceUnusable(manifest_name(number), "another cluster's snapshots are there; choose another place")
    for name, entry in wanted.files.items():
        if held.get(name, entry) != entry:
            problem = f"{name} is there with another content, of a time before a restore; choose another place"
            raise PlaceUnusable("the place to copy to", problem)
    return held
