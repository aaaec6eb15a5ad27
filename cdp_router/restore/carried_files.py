"""Files of a cluster that no snapshot holds, on their way from a replaced data directory into the restored one.

API keys must be copied: a cluster without them lets everybody in. Audit and dead letters are copied too. The replaced
directory keeps its own copy of everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cdp_router.cluster.topology import ClusterDirectory, ClusterFile
from cdp_router.gateway.letters.dead_letters import FOLDER as LETTERS
from cdp_router.restore.progress import Tell
from cdp_router.security.audit.audit_files import FOLDER as AUDIT
from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED, Keys, change_keys, read_keys
from cdp_store.directory.inventory import INVENTORY_NAME, Inventory, ListedFile, read_inventory, record
from cdp_store.errors import DirectoryDamaged, KeysNotCarried
from cdp_store.outside.seams import OsFiles
from cdp_store.outside.whole_files import write_durably

_LOCK = "lock"


def keys_of(data: Path) -> Keys | None:
    """The API keys of a directory that will be replaced, None if it has no file of keys.

    Raises KeysNotCarried if it has keys that cannot be read, or had a file of keys that is missing.
    """
    path = data / KEYS_NAME
    if not path.exists():
        if KEYS_NAME in _listed(data):
            raise KeysNotCarried(path, "it is missing, though it was there before")
        return None
    try:
        return read_keys(path, ListedFile(data, KEYS_NAME, lambda name: _mark(data, name), KEYS_OUTDATED))
    except DirectoryDamaged as error:
        raise KeysNotCarried(path, error.problem) from error


def carry_files(data: Path, building: Path, cluster: ClusterFile, replaced: Path, tell: Tell) -> None:
    """Copies keys, audit and dead letters from a directory into the one that replaces it, and lists them there."""
    listed = set[str]()
    if (keys := keys_of(data)) is not None:
        file = ListedFile(building, KEYS_NAME, cluster.mark, KEYS_OUTDATED)
        change_keys(file.path, lambda _: (None, keys), file)
        listed.add(KEYS_NAME)
        tell(f"the API keys come along: {len(keys)}")
    if _copied(data / LETTERS, building / LETTERS):
        listed |= {name for name in _listed(data) | {LETTERS} if _is_below(name, LETTERS)}
        tell("dead letters come along")
    if (data / AUDIT).is_dir() and not _has_key_of(data, cluster):
        tell(f"the audit stays in {replaced / AUDIT}: only the key of the replaced cluster can check it")
    elif _copied(data / AUDIT, building / AUDIT):
        listed |= {name for name in _listed(data) if _is_below(name, AUDIT)}
        tell("the audit comes along")
    record(building, cluster.mark(INVENTORY_NAME), OsFiles(), listed)


def _copied(folder: Path, target: Path) -> bool:
    """Copies all files below a folder durably, except locks; False if there is no such folder."""
    if not folder.is_dir():
        return False
    files = OsFiles()
    for path in _and_folders(folder):
        copy = target / path.relative_to(folder)
        if path.is_dir():
            copy.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.sync_directory(copy.parent)
        elif path.name != _LOCK:
            write_durably(copy, path.read_bytes(), files)
    return True


def _and_folders(folder: Path) -> Iterable[Path]:
    """A folder and everything below it, each folder before its content."""
    return [folder, *sorted(path for path in folder.rglob("*") if not path.is_symlink())]


def _has_key_of(data: Path, cluster: ClusterFile) -> bool:
    """True if the secrets of a directory's cluster are those of another; False if its cluster.json is damaged."""
    try:
        return ClusterDirectory(data).load().key == cluster.key
    except DirectoryDamaged:
        return False


def _listed(data: Path) -> frozenset[str]:
    """Names of files that must be in a directory; none if the list cannot be read."""
    try:
        return (read_inventory(data, _mark(data, INVENTORY_NAME)) or Inventory()).files
    except DirectoryDamaged:
        return frozenset()


def _mark(data: Path, name: str) -> str:
    """Mark of the owner of files there; empty if it is unknown."""
    try:
        return ClusterDirectory(data).mark(name)
    except DirectoryDamaged:
        return ""


def _is_below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")
