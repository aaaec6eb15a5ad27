"""Salvage of the directory and the log of a shard that does not start."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cdp_store.columns.arena import HashKey
from cdp_store.directory.documents import FOLDER, Document, Documents, documents_in, paths_in
from cdp_store.directory.holdings import FIRST_EPOCH, begin_holdings, dealt, read_holdings
from cdp_store.directory.inventory import INVENTORY_NAME, Inventory, read_inventory, record, write_inventory
from cdp_store.directory.shard_directory import (
    HOLDINGS_NAME,
    ShardIdentity,
    find_identity,
    lock_directory,
    log_path,
    snapshots_path,
    write_identity,
)
from cdp_store.errors import (
    BatchMalformed,
    ClusterKeyMismatch,
    DirectoryDamaged,
    DirectoryMismatch,
    FileMissing,
    FileOutdated,
    FileUnsupported,
    RecordNotReplayed,
    SnapshotDamaged,
    StoreError,
)
from cdp_store.ids import PartitionId
from cdp_store.log.format import LogRecord
from cdp_store.log.position import POSITION_NAME, Position, reset_position
from cdp_store.log.replaying import replay_records
from cdp_store.log.salvage import QUARANTINE_NAME, Salvage, Salvaged
from cdp_store.log.segment_reader import Positions, segments
from cdp_store.outside.sealed import generation_in, read_whole
from cdp_store.outside.seams import Files
from cdp_store.partition.partition import Partition
from cdp_store.shard.logged import Logged, apply_logged
from cdp_store.snapshot.keeper import ShardSnapshots, positions
from cdp_store.snapshot.manifest import Manifest
from cdp_store.snapshot.places import LocalPlace
from cdp_store.snapshot.reader import PartitionReader, read_manifest, snapshot_numbers


def salvage_shard(directory: Path, files: Files) -> Salvaged:
    """Sets aside the unreadable parts of a shard's log; DirectoryInUse when a process has it open."""
    descriptor = lock_directory(directory)
    try:
        return Salvage(log_path(directory), files, _held_by_snapshots(directory, files), _is_usable).run()
    finally:
        os.close(descriptor)


def salvage_replay(directory: Path, identity: ShardIdentity, key: HashKey, files: Files) -> Salvaged:
    """Sets aside intact records that cannot be replayed, loading everything as a start does, once for each.

    DirectoryInUse when a process has it open.
    """
    descriptor, found = lock_directory(directory), Salvaged()
    try:
        refused = set[tuple[int, int]]()
        while (failed := _not_replayed(directory, identity, key, files)) is not None:
            # Set aside before and found again: something else is wrong, and continuing would never end.
            if failed in refused:
                return found  # the start reports what is wrong with it
            refused.add(failed)

            def is_usable(record: LogRecord) -> bool:
                return (record.partition, record.sequence) not in refused and _is_usable(record)

            log, held = log_path(directory), _held_by_snapshots(directory, files)
            found = found.joined(Salvage(log, files, held, is_usable).run())
        return found
    finally:
        os.close(descriptor)


def _not_replayed(directory: Path, identity: ShardIdentity, key: HashKey, files: Files) -> tuple[int, int] | None:
    """Partition and sequence number of the first record whose replay fails, or None.

    None also where another fault keeps the shard from starting; the start reports that one.
    """
    try:
        here = [number for number, held in read_holdings(directory, identity).items() if held.is_in_memory]
        loaded = ShardSnapshots(LocalPlace(snapshots_path(directory), files), identity.cluster).load(
            lambda: {number: Partition(number, key) for number in here}
        )

        def take(record: LogRecord) -> None:
            partition = loaded.partitions.get(record.partition)
            if partition is not None:
                apply_logged(partition, Logged.decode(record))
                # As a start does it: a record may fail only after maintenance has changed the result of earlier ones.
                partition.maintain()

        replay_records(log_path(directory), loaded.positions() or {}, lambda *_: None, take)
    except RecordNotReplayed as error:
        return error.partition, error.sequence
    except StoreError:
        return None
    return None


def salvage_files(directory: Path, identity: ShardIdentity, files: Files) -> list[str]:
    """Rebuilds damaged or missing files of a shard's directory from snapshots; returns a line for each step taken.

    Raises DirectoryInUse when a process has it open, DirectoryMismatch or ClusterKeyMismatch where it is another
    shard's, and FileUnsupported for a file that a newer version wrote.
    """
    descriptor = lock_directory(directory)
    try:
        return list(_salvage_files(directory, identity, files))
    finally:
        os.close(descriptor)


def _salvage_files(directory: Path, identity: ShardIdentity, files: Files) -> Iterator[str]:
    has_identity = yield from _salvage_identity(directory, identity, files)
    log = log_path(directory)
    if has_identity and not (log / POSITION_NAME).exists() and not segments(log):
        log.mkdir(exist_ok=True)
        reset_position(log, Position(), files)
        yield f"{log} was missing: what was logged behind the newest snapshot is lost"
    yield from _salvage_list(directory, identity, files)
    try:
        read_holdings(directory, identity, is_checked=not has_identity)
    except FileUnsupported:
        raise
    except DirectoryDamaged as error:
        newest = next(_manifests(directory, files), None)
        if newest is not None and {entry.partition for entry in newest.partitions} != set(identity.partitions):
            raise  # partitions were moved: their holders and epochs cannot be determined
        begin_holdings(directory, identity, dealt(identity), FIRST_EPOCH, files)
        yield f"{error.path}: {error.problem}. It is made anew: the shard holds what it was dealt at first"
    yield from _salvage_documents(directory, identity, files)


def _salvage_identity(directory: Path, identity: ShardIdentity, files: Files) -> Generator[str, None, bool]:
    """True if the directory must have all its files: its identity, or its holdings, is marked so."""
    try:
        found = find_identity(directory, identity)
        return found.is_sealed if found is not None else (directory / HOLDINGS_NAME).exists()
    except (DirectoryMismatch, ClusterKeyMismatch, FileUnsupported):
        raise
    except DirectoryDamaged as error:
        for manifest in _manifests(directory, files):
            if manifest.cluster != identity.cluster:
                raise DirectoryMismatch(directory, "cluster", manifest.cluster, identity.cluster) from error
        yield f"{error.path}: {error.problem}. It is made anew"
    write_identity(directory, identity, files)
    return True


def _salvage_list(directory: Path, identity: ShardIdentity, files: Files) -> Iterator[str]:
    """Rebuilds a damaged or missing list of a directory's files from the files that are there, as they are."""
    mark = identity.mark(INVENTORY_NAME)
    try:
        if read_inventory(directory, mark) is not None:
            return
        yield f"{directory / INVENTORY_NAME} is missing. It is made anew"
    except FileUnsupported:
        raise
    except DirectoryDamaged as error:
        yield f"{error.path}: {error.problem}. It is made anew"
    names = [f"{FOLDER}/{path.name}" for path in paths_in(directory)]
    numbered = {name: generation_in(directory / name) for name in (HOLDINGS_NAME, *names)}
    write_inventory(directory, Inventory().after(names, (), numbered), mark, files)


def _salvage_documents(directory: Path, identity: ShardIdentity, files: Files) -> Iterator[str]:
    """Replaces unreadable documents by those of the newest snapshot that has them; without one they are lost."""
    mark = identity.mark(INVENTORY_NAME)
    names = {f"{FOLDER}/{path.name}" for path in paths_in(directory)}
    listed = {name for name in (read_inventory(directory, mark) or Inventory()).files if name.startswith(FOLDER)}
    for name in sorted(names | listed):
        partition, kept = PartitionId(int(name[-4:])), dict[str, Document]()
        try:
            Documents(directory, identity, files).of(partition)
            continue
        except FileUnsupported:
            raise
        except DirectoryDamaged as error:
            if isinstance(error, FileOutdated):
                # Outdated is not damaged: documents of an earlier version can be read, and compete with those of
                # snapshots.
                kept.update(documents_in(error.path, read_whole(error.path), identity.mark(name)).value)
            yield _set_aside(directory, name, error, files)
        record(directory, mark, files, remove=[name])
        found = _newest(kept, _documents_in_snapshots(directory, partition, files) or {})
        Documents(directory, identity, files).replace(partition, found)
        what = "The newest documents of it and of snapshots take its place" if found else "Its documents are lost"
        yield f"{directory / name}: {what}"


def _set_aside(directory: Path, name: str, error: DirectoryDamaged, files: Files) -> str:
    if isinstance(error, FileMissing):
        return f"{error.path}: {error.problem}"
    aside = log_path(directory) / QUARANTINE_NAME / name.replace("/", "-")
    aside.parent.mkdir(exist_ok=True)
    files.rename(directory / name, aside)
    return f"{error.path}: {error.problem}. It is kept as {aside}"


def _newest(some: Mapping[str, Document], others: Mapping[str, Document]) -> dict[str, Document]:
    """The higher version of each document, by name."""
    return {
        name: max((each[name] for each in (some, others) if name in each), key=lambda document: document.version)
        for name in {**some, **others}
    }


def _documents_in_snapshots(directory: Path, partition: PartitionId, files: Files) -> Mapping[str, Document] | None:
    place = LocalPlace(snapshots_path(directory), files)
    for manifest in _manifests(directory, files):
        for entry in manifest.partitions:
            if entry.partition == partition:
                with suppress(SnapshotDamaged):
                    return PartitionReader(place, manifest, entry).documents()
    return None


def _manifests(directory: Path, files: Files) -> Iterator[Manifest]:
    """The readable manifests, newest first."""
    place = LocalPlace(snapshots_path(directory), files)
    for number in snapshot_numbers(place):
        with suppress(SnapshotDamaged):
            yield read_manifest(place, number)


def _held_by_snapshots(directory: Path, files: Files) -> Positions | None:
    """Positions up to which the newest readable snapshot holds the data, or None: the log may begin before these."""
    return next((positions(manifest) for manifest in _manifests(directory, files)), None)


def _is_usable(record: LogRecord) -> bool:
    try:
        Logged.decode(record)
    except (BatchMalformed, ValueError):  # ValueError: a kind that this version does not know
        return False
    return True
