"""The files in every shard's directory: created with it, upgraded to this version, and missed when they are gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cdp_store.directory.documents import FOLDER, Documents, paths_in
from cdp_store.directory.holdings import FIRST_EPOCH, Holdings, begin_holdings, read_holdings
from cdp_store.directory.inventory import INVENTORY_NAME, Inventory, read_inventory, record, write_inventory
from cdp_store.directory.shard_directory import (
    HOLDINGS_NAME,
    RESTORE_OR_SALVAGE,
    ShardIdentity,
    find_identity,
    log_path,
    snapshots_path,
    write_identity,
)
from cdp_store.errors import FileMissing, SnapshotDamaged
from cdp_store.ids import PartitionId
from cdp_store.log.local import NO_ROOM
from cdp_store.log.position import POSITION_NAME, Position, reset_position
from cdp_store.log.segment_reader import segments
from cdp_store.outside.sealed import read_sealed, seal_json
from cdp_store.outside.seams import Files
from cdp_store.outside.whole_files import write_durably
from cdp_store.snapshot.places import LocalPlace

_DATA: Final = ("log/*.cdplog", "snapshots/*", "documents/*")
_OWNER_NAME: Final = "owner.json"  # a log placed in another shard's directory is refused by it


class _LogOwner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: str
    shard: int


def open_directory(directory: Path, identity: ShardIdentity, files: Files) -> bool:
    """Makes a new directory, or checks that one is complete and this shard's; True if it predates sealed files.

    Raises DirectoryMismatch, ClusterKeyMismatch, DirectoryDamaged or FileMissing, and changes nothing then.
    """
    is_unsealed = _opened(directory, identity, files)
    for folder in (log_path(directory), snapshots_path(directory)):
        if not folder.exists():
            folder.mkdir()
            files.sync_directory(directory)
    return is_unsealed


def _opened(directory: Path, identity: ShardIdentity, files: Files) -> bool:
    found = find_identity(directory, identity)
    if found is not None and not found.is_sealed:
        return True
    if found is not None:
        _check(directory, identity)
    elif (directory / HOLDINGS_NAME).exists():
        # Only identity.json is missing: the other files name the same owner.
        read_holdings(directory, identity)
        _check(directory, identity)
        write_identity(directory, identity, files)
    elif any(any(directory.glob(pattern)) for pattern in _DATA):
        return True
    else:
        begin_directory(directory, identity, map(PartitionId, identity.partitions), FIRST_EPOCH, files)
    return False


def begin_directory(
    directory: Path, identity: ShardIdentity, partitions: Iterable[PartitionId], epoch: int, files: Files
) -> None:
    """Makes the directory of a shard that owns these partitions from an epoch on; its log may be there already."""
    for folder in (log_path(directory), snapshots_path(directory)):
        folder.mkdir(parents=True, exist_ok=True)
    if not (log_path(directory) / POSITION_NAME).exists():
        reset_position(log_path(directory), Position(), files)
    _write_log_owner(directory, identity, files)
    # Generations begin with the epoch, which is higher than any in a directory that this one replaces.
    listed = Inventory(frozenset(_documents(directory)), newest=epoch)
    write_inventory(directory, listed, identity.mark(INVENTORY_NAME), files)
    begin_holdings(directory, identity, partitions, epoch, files)  # last but one: when it is there, all others are
    write_identity(directory, identity, files)


def check_without_snapshot(place: LocalPlace, holdings: Holdings, problems: Sequence[str]) -> None:
    """Raises SnapshotDamaged where a shard without a complete snapshot holds a partition that came from another shard.

    Its contents are in snapshots and not in the log.
    """
    for number, holding in holdings.all().items():
        if holding.is_in_memory and holding.owned_epoch > FIRST_EPOCH:
            why = "; ".join(problems) or "there is no snapshot"
            raise SnapshotDamaged(
                str(place.directory),
                f"partition {number} came with one from another shard, and {why}; restore the snapshots from a backup",
            )


def settle_files(
    directory: Path,
    identity: ShardIdentity,
    holdings: Holdings,
    documents: Documents,
    files: Files,
    *,
    is_unsealed: bool,
) -> None:
    """Upgrades the files of a directory once its log was read; without free space a later start does that."""
    try:
        if not (log_path(directory) / _OWNER_NAME).exists():
            _write_log_owner(directory, identity, files)
        record(directory, identity.mark(INVENTORY_NAME), files, _documents(directory))
        documents.settle()
        holdings.settle()
        if is_unsealed:
            write_identity(directory, identity, files)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise


def _check(directory: Path, identity: ShardIdentity) -> None:
    for name in (HOLDINGS_NAME, INVENTORY_NAME):
        if not (directory / name).exists():
            raise FileMissing(directory / name, RESTORE_OR_SALVAGE)
    read_inventory(directory, identity.mark(INVENTORY_NAME))
    log = log_path(directory)
    owner = log / _OWNER_NAME
    if owner.exists():
        read_sealed(owner, _LogOwner, identity.mark("log"))
    if not (log / POSITION_NAME).exists() and not segments(log):
        raise FileMissing(log if not log.exists() else log / POSITION_NAME, RESTORE_OR_SALVAGE)


def _documents(directory: Path) -> list[str]:
    return [f"{FOLDER}/{path.name}" for path in paths_in(directory)]


def _write_log_owner(directory: Path, identity: ShardIdentity, files: Files) -> None:
    sealed = seal_json(_LogOwner(identity.cluster, identity.shard), identity.mark("log"))
    write_durably(log_path(directory) / _OWNER_NAME, sealed, files)
