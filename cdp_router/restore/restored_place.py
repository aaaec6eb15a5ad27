"""The place of a restored data directory: it is built next to it and moved there at the end; nothing is removed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cdp_store.directory.shard_directory import lock_directory
from cdp_store.outside.seams import OsFiles


def put_in_place(building: Path, data: Path, carry: Callable[[Path], None]) -> Path | None:
    """Moves the built directory to its place; returns the new place of the replaced one, if there was one.

    `carry` copies files from that directory, and gets its new place; no process uses it meanwhile.
    """
    files, replaced = OsFiles(), None
    with _unused(data):
        if data.exists():
            names = (data.with_name(f"{data.name}.replaced-{number}") for number in range(1, 1 << 20))
            replaced = next(name for name in names if not name.exists())
            carry(replaced)
            data.rename(replaced)
        building.rename(data)
        files.sync_directory(data.parent)
    return replaced


def remove_tree(directory: Path) -> None:
    """Removes the remains of an unfinished earlier restore."""
    if directory.exists():
        for root, folders, names in os.walk(directory, topdown=False):
            for name in names:
                (Path(root) / name).unlink()
            for name in folders:
                (Path(root) / name).rmdir()
        directory.rmdir()


@contextmanager
def _unused(data: Path) -> Iterator[None]:
    """Holds the locks of all shards of a directory; DirectoryInUse if a process has one."""
    held = [lock_directory(path) for path in sorted(data.glob("shard-*"))] if data.exists() else []
    try:
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
