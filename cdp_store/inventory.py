"""Which files of a directory must be there: a list beside them, so that one that is missing is missed.

A name is added once its file is durable and taken out before the file is removed: a crash in between leaves a file that
is not listed, which the next start adds.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cdp_store.errors import DirectoryDamaged
from cdp_store.sealed import read_whole, seal_json, unseal_json
from cdp_store.seams import Files
from cdp_store.whole_files import write_durably

INVENTORY_NAME: Final = "inventory.json"


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: list[str]


def read_inventory(directory: Path, owner: str) -> frozenset[str] | None:
    """Paths of files that must be below a directory, None where there is no list; DirectoryDamaged for a bad one."""
    path = directory / INVENTORY_NAME
    if not path.exists():
        return None
    found = unseal_json(path, read_whole(path), _Stored, owner)
    if not found.is_sealed:
        raise DirectoryDamaged(path, "it has no checksum")
    return frozenset(found.value.files)


def write_inventory(directory: Path, names: Iterable[str], owner: str, files: Files) -> None:
    """Make the list, in place of one that was there."""
    write_durably(directory / INVENTORY_NAME, seal_json(_Stored(sorted(names)), owner, indent=1), files)


def record(directory: Path, owner: str, files: Files, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add names to the list and take others out, durably; one process at a time. OSError where it cannot be written."""
    with _alone(directory):
        before = read_inventory(directory, owner)
        after = (before or frozenset()) - frozenset(remove) | frozenset(add)
        if after != before:
            write_inventory(directory, after, owner, files)


def missing(directory: Path, owner: str) -> list[Path]:
    """Files that the list of a directory names, and that are not there."""
    return [
        directory / name for name in sorted(read_inventory(directory, owner) or ()) if not (directory / name).exists()
    ]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
