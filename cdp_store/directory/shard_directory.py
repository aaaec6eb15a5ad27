"""The directory of one shard: the identity of its data, and a lock that admits one process."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from cdp_store.errors import ClusterKeyMismatch, DirectoryInUse, DirectoryMismatch
from cdp_store.outside.locks import try_file_lock
from cdp_store.outside.sealed import Unsealed, owner_mark, read_sealed, seal_json
from cdp_store.outside.seams import Files
from cdp_store.outside.whole_files import write_durably

IDENTITY_NAME: Final = "identity.json"
HOLDINGS_NAME: Final = "holdings.json"
RESTORE_OR_SALVAGE: Final = (
    "Restore it from a backup, restore the whole directory with `cdp restore`, or start with --salvage to continue "
    "without it"
)
OUTDATED: Final = (
    "put the newest version in its place, restore the whole directory with `cdp restore`, or start with --salvage to "
    "continue with the newest that is left"
)


class ShardIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identity of a shard directory: cluster and shard of its data; written at creation, compared at every start.

    `key` is a fingerprint of the cluster's key, empty in directories of before it was kept.
    """

    cluster: str
    shard: int
    partitions: tuple[int, ...]
    key: str = ""

    def mark(self, name: str) -> str:
        """Mark of the owner of a file of this shard."""
        return owner_mark(self.cluster, self.key, f"shard-{self.shard}/{name}")


def log_path(directory: Path) -> Path:
    """Directory of a shard's log."""
    return directory / "log"


def snapshots_path(directory: Path) -> Path:
    """Directory of a shard's snapshots."""
    return directory / "snapshots"


def lock_directory(directory: Path) -> int:
    """Descriptor that holds the lock of a directory until it is closed; DirectoryInUse if another process holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = try_file_lock(directory / "LOCK")
    if descriptor is None:
        raise DirectoryInUse(directory)
    return descriptor


def find_identity(directory: Path, identity: ShardIdentity) -> Unsealed[ShardIdentity] | None:
    """The identity of a directory, None if it has none.

    Raises DirectoryMismatch or ClusterKeyMismatch unless it is the one given.
    """
    path = directory / IDENTITY_NAME
    if not path.exists():
        return None
    found = read_sealed(path, ShardIdentity)
    for what in ("cluster", "shard", "partitions"):
        if getattr(found.value, what) != getattr(identity, what):
            raise DirectoryMismatch(directory, what, getattr(found.value, what), getattr(identity, what))
    if found.value.key and found.value.key != identity.key:
        raise ClusterKeyMismatch(directory)
    return found


def write_identity(directory: Path, identity: ShardIdentity, files: Files) -> None:
    """Writes the identity of a directory, last of all: from then on the files it was created with must exist."""
    write_durably(directory / IDENTITY_NAME, seal_json(identity), files)


def read_identity(directory: Path) -> ShardIdentity:
    """The identity written in a directory."""
    return read_sealed(directory / IDENTITY_NAME, ShardIdentity).value
