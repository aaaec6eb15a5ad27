"""Salvage of a data directory that `cdp up` refuses: damaged and missing files are given up, with a report."""

from __future__ import annotations

from collections.abc import Iterator

from cdp_router.cluster.topology import MEMBERS_NAME, MEMBERS_OUTDATED, ClusterDirectory, shard_name
from cdp_router.gateway.letters.dead_letters import FOLDER as FOLDER_OF_LETTERS
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.printable import count_of
from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED, read_keys
from cdp_store.directory.inventory import INVENTORY_NAME, ListedFile, read_inventory
from cdp_store.errors import DirectoryDamaged, FileOutdated, FileUnsupported
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.salvaging import salvage_files, salvage_replay, salvage_shard


def salvaged(directory: ClusterDirectory) -> Iterator[str]:
    """Sets aside damaged files and removes missing ones from the list, except API keys; yields a line for each step.

    Raises DirectoryInUse if a process uses a shard, and DirectoryDamaged if a file is indispensable.
    """
    yield from _list_of(directory)
    yield from _keys(directory)
    yield from _members(directory)
    kept = {shard_name(shard) for shard in directory.members() if _has_data(directory, shard)}
    gone = set(directory.missing()) - {KEYS_NAME} - kept
    for name in sorted(gone):
        yield f"{directory.path / name} is missing: its content is lost, and it is no longer expected"
    directory.forget(*gone)
    letters = DeadLetters(directory.path / FOLDER_OF_LETTERS)
    yield from (f"{letters.path / name} is missing: records in it are lost" for name in letters.expect_what_is_there())
    for shard in directory.members():
        if shard_name(shard) not in gone:
            yield from _shard(directory, shard)


def _keys(directory: ClusterDirectory) -> Iterator[str]:
    """Accepts an earlier version of the API keys; without keys, or with damaged ones, no cluster starts."""
    keys = directory.listed(KEYS_NAME, KEYS_OUTDATED)
    try:
        if keys.path.exists():
            read_keys(keys.path, keys)
    except FileOutdated as error:
        yield _accepted(keys, error)


def _members(directory: ClusterDirectory) -> Iterator[str]:
    """Accepts an earlier members.json, and rewrites a damaged or missing one."""
    try:
        directory.members()
    except FileUnsupported:
        raise
    except FileOutdated as error:
        yield _accepted(directory.listed(MEMBERS_NAME, MEMBERS_OUTDATED), error)
    except DirectoryDamaged as error:
        shards = ", ".join(map(str, directory.make_members_anew()))
        yield f"{error.path}: {error.problem}. It was rewritten: `cdp up` runs the shards {shards}"


def _accepted(file: ListedFile, error: FileOutdated) -> str:
    file.accept(OsFiles())
    return f"{error.path}: {error.problem}. It is used unchanged"


def _has_data(directory: ClusterDirectory, shard: int) -> bool:
    """True if a shard's directory is more than the mount point of a disk."""
    return any(any((directory.shard_path(shard) / name).glob("*")) for name in ("log", "snapshots"))


def _list_of(directory: ClusterDirectory) -> Iterator[str]:
    path = directory.path / INVENTORY_NAME
    try:
        if read_inventory(directory.path, directory.mark(INVENTORY_NAME)) is None:
            yield f"{path} is missing; it is rebuilt from the files that exist"
    except FileUnsupported:
        raise
    except DirectoryDamaged as error:
        yield f"{error.path} is damaged ({error.problem}); it is rebuilt from the files that exist"
        path.unlink()
    names = [KEYS_NAME, *map(shard_name, directory.shards_here())]
    directory.remember(*(name for name in names if (directory.path / name).exists()))


def _shard(directory: ClusterDirectory, shard: int) -> Iterator[str]:
    path = directory.shard_path(shard)
    cluster = directory.load()
    identity = cluster.shard_identity(shard)
    said = salvage_files(path, identity, OsFiles()) if path.exists() else []
    yield from (f"shard {shard}: {line}" for line in said)
    found = salvage_shard(path, OsFiles()).joined(salvage_replay(path, identity, cluster.hash_key, OsFiles()))
    for damage in found.damages:
        yield f"shard {shard}: {damage.path} is damaged from byte {damage.start} to {damage.stop}"
    for kept in found.kept:
        yield f"shard {shard}: kept as it was in {kept}"
    for partition, count in sorted(found.lost.items()):
        yield f"shard {shard}: partition {partition} has lost {count_of(count, 'batch', 'batches')}"
    if not found.damages and not said:
        yield f"shard {shard}: nothing to salvage"
