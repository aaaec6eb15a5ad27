"""The directory of one shard: whose data it holds, and that only one process uses it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from cdp_store.errors import DirectoryDamaged, DirectoryInUse, DirectoryMismatch
from cdp_store.seams import Files
from cdp_store.whole_files import write_durably


class ShardIdentity(msgspec.Struct, frozen=True):
    """Whose data a shard directory holds; written at creation, compared at every start."""

    cluster: str
    shard: int
    partitions: tuple[int, ...]


def log_path(directory: Path) -> Path:
    """Where the log of a shard lies."""
    return directory / "log"


def snapshots_path(directory: Path) -> Path:
    """Where the snapshots of a shard lie."""
    return directory / "snapshots"


def lock_directory(directory: Path) -> int:
    """Descriptor that holds the lock of a directory until it is closed; DirectoryInUse when another holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DirectoryInUse(directory) from error
    return descriptor


def check_identity(directory: Path, identity: ShardIdentity, files: Files) -> None:
    """Write the identity into a new directory, or raise unless it is the one that stands there."""
    path = directory / "identity.json"
    if not path.exists():
        write_durably(path, msgspec.json.encode(identity), files)
        return
    found = read_identity(directory)
    for what in ("cluster", "shard", "partitions"):
        if getattr(found, what) != getattr(identity, what):
            raise DirectoryMismatch(directory, what, getattr(found, what), getattr(identity, what))


def read_identity(directory: Path) -> ShardIdentity:
    """The identity that stands in a directory."""
    path = directory / "identity.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=ShardIdentity)
    except msgspec.DecodeError as error:
        raise DirectoryDamaged(path, str(error)) from error
