"""Checks of a data directory when `cdp up` starts on it: no file may be missing unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cdp_router.cluster.topology import (
    ADDRESSES_NAME,
    CLUSTER_NAME,
    MEMBERS_NAME,
    MISSING_REMEDY,
    ClusterDirectory,
    shard_name,
)
from cdp_router.gateway.letters.dead_letters import FOLDER as FOLDER_OF_LETTERS
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.gateway.seen_sources import NAME as SEEN_SOURCES
from cdp_router.security.audit.audit_files import FOLDER as FOLDER_OF_AUDIT
from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED, KEYS_REMEDY, KeyFile, read_keys, settle_keys
from cdp_store.directory.inventory import INVENTORY_NAME
from cdp_store.directory.shard_directory import HOLDINGS_NAME, IDENTITY_NAME, find_identity
from cdp_store.errors import ClusterKeyMismatch, DirectoryDamaged, DirectoryForeign, DirectoryMismatch, FileMissing
from cdp_store.log.local import NO_ROOM
from cdp_store.outside.seams import OsFiles
from cdp_store.outside.whole_files import leftovers, remove_leftovers

_LEFT_AFTER_MS: Final = 3_600_000
_NAMED: Final = 3  # names in an error
_OF_DISKS: Final = frozenset(("lost+found",))  # what an empty disk holds
# Any of these may be there before a cluster is; without its cluster.json, `ClusterDirectory` refuses the list.
_OURS: Final = frozenset(
    (KEYS_NAME, ADDRESSES_NAME, FOLDER_OF_LETTERS, SEEN_SOURCES, FOLDER_OF_AUDIT, INVENTORY_NAME, MEMBERS_NAME, "logs")
)


def check_place(directory: ClusterDirectory) -> None:
    """Raises DirectoryForeign if the place of a data directory is a file, or a folder of something else."""
    path = directory.path
    if not path.exists() or directory.cluster_path.exists():
        return
    if not path.is_dir():
        raise DirectoryForeign(path, "it is a file")
    there = sorted({each.name for each in path.iterdir()} - _OF_DISKS)
    if there and not directory.shards_here() and _OURS.isdisjoint(there):
        *others, last = there if len(there) <= _NAMED else [*there[:_NAMED], f"{len(there) - _NAMED} more"]
        names = f"{', '.join(others)} and {last}" if others else last
        raise DirectoryForeign(path, f"it has no {CLUSTER_NAME}, but {names}")


def remove_old_leftovers(directory: ClusterDirectory, now_ms: int) -> None:
    """Removes remains of killed writers of the cluster's files; a shard removes its own.

    Others may be writing at this moment, so files younger than an hour stay for a later start.
    """
    own = {directory.shard_path(shard) for shard in directory.shards_here()}
    found = [path for path in leftovers(directory.path) if own.isdisjoint(path.parents)]
    with suppress(OSError):  # a file that cannot be removed does no harm
        old = [path for path in found if now_ms - path.stat().st_mtime_ns // 1_000_000 > _LEFT_AFTER_MS]
        remove_leftovers(old, OsFiles())


def check_directory(directory: ClusterDirectory) -> list[str]:
    """Checks that all listed files exist, and lists those that are not listed; returns messages for the operator.

    Raises FileMissing if the cluster must not start, and DirectoryDamaged for a file that cannot be used.
    """
    _check_whose(directory)
    _if_there_is_room(directory.seal)
    keys = directory.listed(KEYS_NAME, KEYS_OUTDATED)
    if keys.path.exists():
        read_keys(keys.path, keys)
    said = list[str]()
    if not (directory.path / INVENTORY_NAME).exists():
        _check_shards_without_list(directory)
        said.append(f"{directory.path / INVENTORY_NAME} was missing; it is rebuilt from the files that exist")
    for name in directory.missing():
        path = directory.path / name
        if name == KEYS_NAME:
            raise FileMissing(path, KEYS_REMEDY)
        for shard in directory.members():
            if name == shard_name(shard):
                directory.check_shard(shard)
        said.append(
            f"warning: {path} is missing, though it existed before; restore it from a backup, or start once with "
            "--salvage to expect it no longer"
        )
    letters = DeadLetters(directory.path / FOLDER_OF_LETTERS)
    said += [f"warning: {problem}" for problem in letters.problems()]
    _if_there_is_room(letters.list_sources)
    candidates = (KEYS_NAME, MEMBERS_NAME, FOLDER_OF_LETTERS, *map(shard_name, directory.members()))
    directory.remember(*(name for name in candidates if (directory.path / name).exists()))
    _if_there_is_room(lambda: settle_keys(keys))
    _if_there_is_room(directory.settle_members)
    return said


def open_keys(directory: ClusterDirectory, given: Path | None) -> KeyFile:
    """The keys of a router or gateway: those of the given file, else those of its directory.

    Raises FileMissing if the directory had keys and they were removed: nobody gets in without a key by accident.
    """
    if given is not None:
        return KeyFile(given, must_exist=True)
    path = directory.path / KEYS_NAME
    if directory.is_missing(KEYS_NAME):
        raise FileMissing(path, KEYS_REMEDY)
    keys = KeyFile(path, directory.listed(KEYS_NAME, KEYS_OUTDATED))
    if keys.keys() is not None:
        directory.remember(KEYS_NAME)
    return keys


def _check_whose(directory: ClusterDirectory) -> None:
    """Raises DirectoryMismatch or ClusterKeyMismatch if cluster.json is not that of the shards' directories.

    All other files would be refused then, as those of another cluster; this error comes first.
    """
    cluster = directory.load()
    for shard in directory.shards_here():
        path = directory.shard_path(shard)
        try:
            find_identity(path, cluster.shard_identity(shard))
        except ClusterKeyMismatch:
            raise
        except DirectoryMismatch as error:
            if error.what == "cluster":
                raise
        except DirectoryDamaged:
            continue  # the shard reports it, if it has to run


def _check_shards_without_list(directory: ClusterDirectory) -> None:
    members = directory.members()
    marks = (IDENTITY_NAME, HOLDINGS_NAME)  # an old directory may have no holdings
    there = [shard for shard in members if any((directory.shard_path(shard) / name).exists() for name in marks)]
    gone = sorted(set(members) - set(there))
    if there and gone:
        raise FileMissing(directory.shard_path(gone[0]), MISSING_REMEDY)


def _if_there_is_room(write: Callable[[], None]) -> None:
    """Skips a write on a full disk: the file of an earlier version stays unchanged."""
    try:
        write()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
