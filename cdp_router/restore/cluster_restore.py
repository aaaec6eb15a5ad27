"""Restoring a cluster from snapshots and logs into a new data directory.

A source is a data directory, or a copy that `cdp snapshot --to` made. Everything is built next to its final place and
moved there at the end: until then, the existing directory stays unchanged.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cdp_router.cluster.partitioning import partitions_of, split
from cdp_router.cluster.placement import Placement, newest_epoch, placement_in
from cdp_router.cluster.topology import CLUSTER_NAME, ClusterDirectory, ClusterFile, decode_cluster, shard_name
from cdp_router.printable import count_of
from cdp_router.restore.carried_files import carry_files, keys_of
from cdp_router.restore.late_erasures import LateErasures
from cdp_router.restore.progress import Tell, counted, named, percentage
from cdp_router.restore.restored_documents import Kept, dealt_out, documents_in
from cdp_router.restore.restored_place import put_in_place, remove_tree
from cdp_router.security.keys.key_file import KEYS_NAME
from cdp_store.directory.documents import Documents
from cdp_store.directory.inventory import INVENTORY_NAME, Inventory, write_inventory
from cdp_store.directory.shard_directory import log_path, snapshots_path
from cdp_store.errors import (
    DirectoryDamaged,
    DirectoryExists,
    InstantTooEarly,
    NothingToRestore,
    PartitionElsewhere,
    PlaceUnusable,
    SnapshotDamaged,
)
from cdp_store.identity.identity_tables import IdentityTables
from cdp_store.identity.rerouted_links import rerouted
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.controls import Retention
from cdp_store.log.format import LogRecord
from cdp_store.log.local import begin_after_snapshot
from cdp_store.log.replaying import replay_records
from cdp_store.log.segment_reader import BEHIND_ALL, first_sequences, is_trimmed
from cdp_store.memory.digest import Digest, digest
from cdp_store.memory.rerouting import batches_of
from cdp_store.outside.sealed import seal_json
from cdp_store.outside.seams import OsFiles
from cdp_store.outside.whole_files import write_durably
from cdp_store.partition.dedupe import IdGeneration
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import Quarantine, Quarantined
from cdp_store.partition.suppressions import Suppressions
from cdp_store.records.records import Strings
from cdp_store.shard.carried_over import carry_ids, carry_summaries
from cdp_store.shard.logged import Logged, apply_logged
from cdp_store.shard.shard_files import begin_directory
from cdp_store.snapshot.cold.carrying import DealtOut, OldPartition
from cdp_store.snapshot.keeper import ShardSnapshots, fill
from cdp_store.snapshot.manifest import Manifest
from cdp_store.snapshot.places import LocalPlace, SnapshotPlace, place_at
from cdp_store.snapshot.reader import read_manifest, snapshot_numbers
from cdp_store.values import to_datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Scope of a restore: number of shards and partitions (None: unchanged), which partitions (None: all), up to which
    receipt (None: everything there is).
    """

    shards: int | None = None
    partitions: int | None = None
    only: frozenset[int] | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """Result of a restore.

    `replaced` is the new place of the replaced directory, with a copy of its keys. Without a log (`has_log`) the source
    does not show which profiles were erased after its snapshots.
    """

    cluster: ClusterFile
    profiles: int
    digest: Digest
    replaced: Path | None
    has_keys: bool
    has_log: bool


def restore(source: str, data: Path, wanted: Wanted, tell: Tell, taken_ms: int, *, overwrite: bool = False) -> Restored:
    """Builds the data directory. Raises DirectoryExists unless it may be replaced; the old one is kept next to it."""
    if data.exists() and any(data.iterdir()) and not overwrite:
        raise DirectoryExists(data)
    keys_of(data)  # refused now, before the work
    old = source_cluster(source)
    is_rerouted = wanted.partitions not in (None, old.partitions)
    # A router that still routes by another number of partitions must not be accepted as one of ours.
    name = uuid.uuid4().hex if is_rerouted else old.cluster
    made = ClusterFile(name, wanted.partitions or old.partitions, wanted.shards or old.shards, old.key)
    placement = placement_in(source, old)
    if lacking := _lacking(placement, [number for number in range(old.partitions) if _is_wanted(wanted, number)]):
        raise PlaceUnusable(source, f"{lacking}. To restore only the others, name them with --partition")
    kept = documents_in(source, placement, tell)
    documents = dealt_out(kept, wanted.only, is_rerouted=is_rerouted)
    partitions, cold, late = _loaded(source, old, wanted, tell)
    documents = late.documents(documents, partitions.values())
    if erased := late.hold(partitions):
        tell(f"erased since that instant, and not restored: {count_of(erased, 'profile')}")
    total = sum((digest(partition.capture()) for partition in partitions.values()), Digest())
    cold_of = partial(_cold, made, cold, is_rerouted)
    if is_rerouted:
        partitions = _rerouted(partitions, made, cold_of, tell)
    building = data.with_name(f"{data.name}.restoring")
    remove_tree(building)
    _write(building, New(made, partitions, documents, _first_epoch(source, data, taken_ms)), cold_of, taken_ms, tell)
    profiles = sum(partition.status().profiles for partition in partitions.values())
    replaced = put_in_place(building, data, lambda kept: carry_files(data, building, made, kept, tell))
    has_log = any(_log_of(source, shard) for shard in placement)
    return Restored(made, profiles, total, replaced, (data / KEYS_NAME).exists(), has_log)


def source_cluster(source: str) -> ClusterFile:
    """The cluster of the snapshots at a path or URI."""
    place = place_at(source)
    if CLUSTER_NAME not in place.names():
        problem = f"there is no {CLUSTER_NAME}; give a data directory, or a place written by `cdp snapshot --to`"
        raise PlaceUnusable(source, problem)
    data = place.read(CLUSTER_NAME).to_pybytes()
    try:
        return decode_cluster(Path(CLUSTER_NAME), data).value
    except DirectoryDamaged as error:
        raise SnapshotDamaged(f"{source}/{CLUSTER_NAME}", error.problem) from error


def source_place(source: str, shard: int) -> SnapshotPlace:
    """Place of the snapshots of one of its shards."""
    return place_at(source, f"shard-{shard}/snapshots")


def verify_source(source: str) -> tuple[int, int, int, list[str]]:
    """(snapshots, files, bytes, problems) of all shards; every file is read once and nothing is loaded."""
    cluster = source_cluster(source)
    snapshots = files = size = 0
    problems = list[str]()
    placement = placement_in(source, cluster)
    if lacking := _lacking(placement, range(cluster.partitions)):
        problems.append(lacking)
    for shard in sorted(placement):
        found = ShardSnapshots(source_place(source, shard), cluster.cluster).verify()
        snapshots, files, size = snapshots + found.snapshots, files + found.files, size + found.bytes
        problems += [f"shard {shard}, snapshot {each.number}: {each.file}: {each.problem}" for each in found.problems]
    return snapshots, files, size, problems


def _lacking(placement: Placement, wanted: Iterable[int]) -> str:
    """A text that names the partitions that no shard's directory holds; empty if there are none."""
    gone = sorted(set(wanted) - {number for held in placement.values() for number in held})
    return f"no directory of a shard there holds partition {', '.join(map(str, gone))}" if gone else ""


def _loaded(
    source: str, cluster: ClusterFile, wanted: Wanted, tell: Tell
) -> tuple[dict[PartitionId, Partition], list[OldPartition], LateErasures]:
    found, cold, late = dict[PartitionId, Partition](), list[OldPartition](), LateErasures()
    for shard, held in sorted(placement_in(source, cluster).items()):
        tell(f"shard {shard}: reading")
        numbers = [number for number in held if _is_wanted(wanted, number)]
        if numbers:
            partitions, own = _loaded_shard(source, cluster, shard, numbers, wanted.until_ms, late, tell)
            found.update(partitions)
            cold += own
    return found, cold, late


def _log_of(source: str, shard: int) -> Path | None:
    """Log of a shard of a data directory; None for a copy."""
    log = None if "://" in source else log_path(Path(source).expanduser() / f"shard-{shard}")
    return log if log is not None and log.exists() else None


def _is_wanted(wanted: Wanted, partition: int) -> bool:
    return wanted.only is None or partition in wanted.only


def _loaded_shard(
    source: str,
    cluster: ClusterFile,
    shard: int,
    numbers: list[int],
    until_ms: int | None,
    late: LateErasures,
    tell: Tell,
) -> tuple[dict[PartitionId, Partition], list[OldPartition]]:
    """The partitions from the newest usable snapshot that is not too new, and the log after it if there is one;
    and the sources of their cold rows.
    """
    log = _log_of(source, shard)
    place = source_place(source, shard)
    partitions, snapshot = _newest(place, cluster, numbers, until_ms, named(tell, shard))
    if log is not None:
        if snapshot is None:
            _check_first_records(source, shard, log, place, partitions, is_limited=until_ms is not None)
        others = {PartitionId(number) for number in range(cluster.partitions)} - set(partitions)
        _replay(log, partitions, others, until_ms, late, percentage(named(tell, shard)))
    elif snapshot is None:
        raise NothingToRestore(source, shard, until_ms is not None)
    number = snapshot.number if snapshot is not None else "none"
    tell(f"shard {shard}: snapshot {number}{', and the log after it' if log is not None else ''}")
    cold = [
        OldPartition(number, place, snapshot, log, each.sequence, late.removals(number))
        for number, each in partitions.items()
    ]
    return partitions, cold


def _check_first_records(
    source: str, shard: int, log: Path, place: SnapshotPlace, partitions: Iterable[PartitionId], *, is_limited: bool
) -> None:
    """Raises PartitionElsewhere unless the log alone holds all of the partitions, which came from no other shard.

    Raises InstantTooEarly for an instant before all snapshots that the log does not reach back to.
    """
    later = list[Manifest]()
    for number in snapshot_numbers(place):
        with suppress(SnapshotDamaged):
            later.append(read_manifest(place, number))
    if is_limited and later and is_trimmed(log):
        received = [max((each.received_ms for each in manifest.partitions), default=0) for manifest in later]
        raise InstantTooEarly(source, shard, to_datetime(min(received)).isoformat())
    first = first_sequences(log, partitions)
    came_with = {PartitionId(entry.partition) for each in later for entry in each.partitions if entry.sequence}
    for number in partitions:
        if first.get(number, 1) > 1 or (number in came_with and number not in first):
            raise PartitionElsewhere(source, shard, number)


def _newest(
    place: SnapshotPlace, cluster: ClusterFile, numbers: list[int], until_ms: int | None, tell: Tell
) -> tuple[dict[PartitionId, Partition], Manifest | None]:
    for number in snapshot_numbers(place):
        partitions = _empty(numbers, cluster)
        try:
            manifest = read_manifest(place, number)
            received = [entry.received_ms for entry in manifest.partitions if entry.partition in numbers]
            if until_ms is not None and max(received, default=0) > until_ms:
                continue
            fill(partitions, place, manifest, counted(tell, len(numbers)))
        except SnapshotDamaged as error:
            tell(f"{error}; trying an older one")
            continue
        return partitions, manifest
    return _empty(numbers, cluster), None


def _empty(numbers: list[int], cluster: ClusterFile) -> dict[PartitionId, Partition]:
    return {PartitionId(number): Partition(PartitionId(number), cluster.hash_key) for number in numbers}


def _replay(
    log: Path,
    partitions: dict[PartitionId, Partition],
    others: set[PartitionId],
    until_ms: int | None,
    late: LateErasures,
    progress: Callable[[int, int], None],
) -> None:
    """Applies log records after the partitions' positions, each up to its first batch received too late; later ones
    are only noted. Records of `others` are skipped: those partitions may have been here for a while only.
    """
    start = {number: partition.sequence for number, partition in partitions.items()}
    start |= dict.fromkeys(others, BEHIND_ALL)

    def take(record: LogRecord) -> None:
        number = record.partition
        if number not in partitions:
            return
        logged = Logged.decode(record)
        if number in late.ended or (until_ms is not None and logged.received_ms > until_ms):
            late.note(number, logged)
            return
        apply_logged(partitions[number], logged)
        partitions[number].maintain()

    replay_records(log, start, progress, take)


def _rerouted(
    partitions: dict[PartitionId, Partition],
    cluster: ClusterFile,
    cold_of: Callable[[frozenset[PartitionId]], DealtOut],
    tell: Tell,
) -> dict[PartitionId, Partition]:
    """The same contents in another number of partitions, without batch ids: their batches may be accepted in part."""
    made, rules = _empty(list(range(cluster.partitions)), cluster), dict[str, int]()
    received_ms = 0
    ids, identities, suppressions = list[IdGeneration](), list[IdentityTables](), Suppressions(cluster.hash_key)
    for number in sorted(partitions):
        tell(f"partition {number}: distributing its profiles over {cluster.partitions} partitions")
        export = partitions.pop(number).export()
        rules.update(export.retention_days)
        received_ms = max(received_ms, export.received_ms)
        ids += export.ids
        identities.append(export.identity)
        suppressions = suppressions.joined(export.suppressions)
        _reroute_quarantine(export.quarantine, cluster, made)
        for batch in batches_of(export.view):
            for target, (part, _) in split(batch, cluster.hash_key, cluster.partitions).items():
                partition = made[PartitionId(target)]
                partition.take_over(part)
                partition.maintain()
        carry_summaries(export.view, made)
    for partition in made.values():
        if rules:
            partition.retain(Retention(rules, {}), SequenceNumber(partition.sequence + 1))
    for target, tables in rerouted(identities, cluster.hash_key, partial(_home, cluster)).items():
        made[PartitionId(target)].load_identity(tables)
    for partition in made.values():
        partition.suppressions = suppressions
        partition.note_received(received_ms)
    tell("distributing the message ids")
    left = carry_ids(ids, cold_of(frozenset(made)).tables(), made)
    if left:
        tell(f"{left:,} message ids without cold columns are lost: their records would be accepted again")
    return made


def _reroute_quarantine(old: Quarantine, cluster: ClusterFile, made: dict[PartitionId, Partition]) -> None:
    """Adds quarantined records to the new partitions of their profiles; every part has all links, which may repeat."""
    for entry in old.entries.values():
        for target, (part, records) in split(entry.batch, cluster.hash_key, cluster.partitions).items():
            partition = made[PartitionId(target)]
            moved = Quarantined.of(part, [entry.reasons[int(record)] for record in records], entry.links)
            partition.quarantine_records(moved, SequenceNumber(partition.sequence + 1))


def _home(cluster: ClusterFile, identifier: bytes) -> int:
    return int(partitions_of(Strings.of([identifier]), cluster.hash_key, cluster.partitions)[0])


def _cold(cluster: ClusterFile, old: list[OldPartition], is_rerouted: bool, own: frozenset[PartitionId]) -> DealtOut:
    """The cold rows of some new partitions."""
    route = partial(partitions_of, key=cluster.hash_key, partition_count=cluster.partitions) if is_rerouted else None
    return DealtOut(old, own, route)


@dataclass(frozen=True, slots=True)
class New:
    """Parts of a new data directory; its partitions are owned from `epoch` on."""

    cluster: ClusterFile
    partitions: Mapping[PartitionId, Partition]
    documents: Kept
    epoch: int


def _first_epoch(source: str, data: Path, now_ms: int) -> int:
    """An epoch after all that routers may know: they learn of this directory as they learn of moves.

    A copy does not record epochs. No cluster moves a partition each second, so the epoch of this second is after all.
    """
    known = [newest_epoch(Path(each).expanduser()) for each in (source, str(data)) if "://" not in each]
    return max(now_ms // 1000, *known) + 1


def _write(
    directory: Path,
    new: New,
    cold_of: Callable[[frozenset[PartitionId]], DealtOut],
    taken_ms: int,
    tell: Tell,
) -> None:
    """Writes a data directory with a snapshot of each shard, and cluster.json last."""
    files, cluster, partitions = OsFiles(), new.cluster, new.partitions
    for shard in range(cluster.shards):
        tell(f"shard {shard}: writing")
        path = ClusterDirectory(directory).shard_path(shard)
        log_path(path).mkdir(parents=True)
        begin_after_snapshot(log_path(path), files)
        own = [PartitionId(number) for number in cluster.first_partitions_of_shard(shard)]
        identity = cluster.shard_identity(shard)
        begin_directory(path, identity, own, new.epoch, files)
        documents = Documents(path, identity, files)
        for number in own:
            documents.replace(number, new.documents.get(number, {}))
        held = {number: partitions.get(number) or Partition(number, cluster.hash_key) for number in own}
        snapshots = ShardSnapshots(LocalPlace(snapshots_path(path), files), cluster.cluster)
        for problem in snapshots.take_snapshot(held, taken_ms, cold_of(frozenset(own)).read, documents.of).problems:
            tell(f"cold columns: {problem}")
        files.sync_directory(path)
    files.sync_directory(directory)
    listed = [shard_name(shard) for shard in range(cluster.shards)]
    # Generations begin after those of a directory that this one replaces.
    write_inventory(directory, Inventory(frozenset(listed), newest=new.epoch), cluster.mark(INVENTORY_NAME), files)
    write_durably(directory / CLUSTER_NAME, seal_json(cluster), files)
