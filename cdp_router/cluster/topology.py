"""Files that define a cluster: identity, secret, number of partitions, first placement, members, addresses."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cdp_router.limits import PARTITIONS_DEFAULT
from cdp_store.directory.inventory import INVENTORY_NAME, Inventory, ListedFile, read_inventory, record
from cdp_store.directory.shard_directory import HOLDINGS_NAME, ShardIdentity
from cdp_store.errors import DirectoryDamaged, DirectoryMismatch, FileMissing
from cdp_store.log.local import NO_ROOM
from cdp_store.outside.sealed import (
    Unsealed,
    key_fingerprint,
    owner_mark,
    read_sealed,
    read_whole,
    seal_json,
    unseal_json,
)
from cdp_store.outside.seams import OsFiles
from cdp_store.outside.whole_files import write_durably

if TYPE_CHECKING:
    from cdp_store.columns.arena import HashKey  # the rest of that module loads the compiler

CLUSTER_NAME: Final = "cluster.json"
MEMBERS_NAME: Final = "members.json"
ADDRESSES_NAME: Final = "addresses.json"
MISSING_REMEDY: Final = (
    "mount its disk, restore it from a backup, or restore all data with `cdp restore`. To continue without the lost "
    "data, start with --salvage"
)
MEMBERS_OUTDATED: Final = (
    "put the newest version in its place, or start with --salvage to continue with the shards that this one names"
)
CLUSTER_REMEDY: Final = (
    "restore it from a backup, or copy it from another machine of the cluster: without its key the data here cannot be "
    "found again. Nothing was changed"
)
_SHARD: Final = "shard-"
_KEY: Final = re.compile("[0-9a-f]{32}")


class ClusterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of cluster.json: written once with the data directory, never changed."""

    cluster: str
    partitions: int
    shards: int
    key: str  # 128 bits, hexadecimal: the secret of all keyed hashes

    @property
    def hash_key(self) -> HashKey:
        """The secret as two 64-bit numbers."""
        return int(self.key[:16], 16), int(self.key[16:], 16)

    def first_partitions_of_shard(self, shard: int) -> tuple[int, ...]:
        """Partitions a shard owns at first: dealt out in turn. Shards that were added later begin with none."""
        return tuple(range(shard, self.partitions, self.shards)) if shard < self.shards else ()

    def first_shard_of_partition(self, partition: int) -> int:
        """The shard that owns a partition at first; `partition_map` knows the present one."""
        return partition % self.shards

    @property
    def fingerprint(self) -> str:
        """A keyed hash that distinguishes the key from others and reveals nothing about it."""
        return key_fingerprint(self.hash_key, self.cluster)

    def mark(self, name: str) -> str:
        """The mark of the owner that a file of the cluster's directory carries."""
        return owner_mark(self.cluster, self.fingerprint, name)

    def shard_identity(self, shard: int) -> ShardIdentity:
        """Identity of a shard's directory."""
        return ShardIdentity(self.cluster, shard, self.first_partitions_of_shard(shard), self.fingerprint)


class _Members(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    members: list[int]


@dataclass(frozen=True, slots=True)
class ClusterDirectory:
    """The files of a cluster on this machine."""

    path: Path

    @property
    def cluster_path(self) -> Path:
        return self.path / CLUSTER_NAME

    @property
    def addresses_path(self) -> Path:
        """Path of the file with the address of each shard, which routers read; `cdp up` or an operator writes it."""
        return self.path / ADDRESSES_NAME

    def members(self) -> tuple[int, ...]:
        """The shards that `cdp up` runs: those with partitions at first, until some are added or removed."""
        file = self._members_file
        if file.path.exists():
            return file.read(_members)
        if MEMBERS_NAME in self._inventory():
            raise FileMissing(file.path, MISSING_REMEDY)
        return tuple(range(self.load().shards))

    def set_members(self, shards: Iterable[int]) -> None:
        """Changes the shards that `cdp up` runs; a running one sees it within a second."""
        members, file = sorted(shards), self._members_file
        file.replace(lambda generation: seal_json(_Members(members), file.owner, generation), OsFiles())
        gone = [name for name in self._inventory() if (number := _shard_of(name)) is not None and number not in members]
        record(self.path, self.mark(INVENTORY_NAME), OsFiles(), remove=gone)

    def make_members_anew(self) -> tuple[int, ...]:
        """Rewrites members.json with the shards that have or had a directory here; returns them."""
        listed = {number for name in self._inventory() if (number := _shard_of(name)) is not None}
        members = sorted(listed.union(self.shards_here())) or range(self.load().shards)
        self.set_members(members)
        return tuple(members)

    def settle_members(self) -> None:
        """Gives a members.json of an earlier version its generation, and updates the list."""
        if self._members_file.path.exists() and not self._members_file.settle(OsFiles()):
            self.set_members(self.members())

    def addresses(self) -> dict[int, str]:
        """Address of each shard; DirectoryDamaged if the file cannot be read."""
        path = self.addresses_path
        found = read_sealed(path, dict[int, str]).value
        wrong = [address for address in found.values() if not address.rpartition(":")[2].isdecimal()]
        if wrong:
            raise DirectoryDamaged(path, f"{wrong[0]!r} is no host:port")
        return found

    def set_addresses(self, addresses: Mapping[int, str]) -> None:
        """Writes the addresses of shards; routers read them within a second."""
        write_durably(self.addresses_path, seal_json(dict(sorted(addresses.items()))), OsFiles())

    def remember(self, *names: str) -> None:
        """Lists files of this directory that must exist from now on; does nothing if there is no room for that."""
        try:
            record(self.path, self.mark(INVENTORY_NAME), OsFiles(), names)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise

    def remember_paths(self, paths: Iterable[Path]) -> None:
        """Lists files and folders below this directory in the same way."""
        self.remember(*(str(path.relative_to(self.path)) for path in paths))

    def forget(self, *names: str) -> None:
        """Removes files of this directory from the list."""
        record(self.path, self.mark(INVENTORY_NAME), OsFiles(), remove=names)

    def missing(self) -> list[str]:
        """Names of files that are listed and do not exist; for shards only those that `cdp up` runs.

        Raises FileMissing if it is unknown which shards those are.
        """
        here, members = self._inventory(), self.members()
        gone = [name for name in sorted(here) if not (self.path / name).exists()]
        return [name for name in gone if (number := _shard_of(name)) is None or number in members]

    def is_missing(self, name: str) -> bool:
        """True if a file is listed and does not exist."""
        return name in self._inventory() and not (self.path / name).exists()

    def check_shard(self, shard: int) -> None:
        """Raises FileMissing if the directory of a shard, or its holdings file, existed and no longer does."""
        if self.is_missing(shard_name(shard)):
            path = self.shard_path(shard)
            raise FileMissing(path / HOLDINGS_NAME if path.exists() else path, MISSING_REMEDY)

    def mark(self, name: str) -> str:
        """The mark of the owner that files here carry; empty on a machine that has only dead letters or keys."""
        return self.load().mark(name) if self.cluster_path.exists() else ""

    def _inventory(self) -> frozenset[str]:
        return (read_inventory(self.path, self.mark(INVENTORY_NAME)) or Inventory()).files

    @property
    def _members_file(self) -> ListedFile:
        return self.listed(MEMBERS_NAME, MEMBERS_OUTDATED)

    def listed(self, name: str, remedy: str) -> ListedFile:
        """A file of this directory with a generation; `remedy` is the advice for an earlier version."""
        return ListedFile(self.path, name, self.mark, remedy)

    def shard_path(self, shard: int) -> Path:
        """Directory of one shard."""
        return self.path / f"{_SHARD}{shard}"

    def shards_here(self) -> list[int]:
        """The shards that have a directory here, those that were added later included."""
        names = (path.name.removeprefix(_SHARD) for path in self.path.glob(f"{_SHARD}*") if path.is_dir())
        return sorted(int(name) for name in names if name.isdecimal())

    def log_path(self, name: str) -> Path:
        """Path of the log file of a process."""
        return self.path / "logs" / f"{name}.log"

    def load(self) -> ClusterFile:
        """The cluster that lives here."""
        return decode_cluster(self.cluster_path, read_whole(self.cluster_path)).value

    def load_or_create(self, shards: int, partitions: int | None) -> ClusterFile:
        """The cluster that lives here, created now if there is none; DirectoryMismatch if it has another shape.

        Without `partitions` it may have any number of them; a new one gets PARTITIONS_DEFAULT.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.cluster_path.exists():
            self._check_new()
            made = ClusterFile(uuid.uuid4().hex, partitions or PARTITIONS_DEFAULT, shards, secrets.token_hex(16))
            write_durably(self.cluster_path, seal_json(made), OsFiles())
            self.remember()
            return made
        found = self.load()
        for what, wanted in (("shards", shards), ("partitions", partitions)):
            if wanted is not None and getattr(found, what) != wanted:
                raise DirectoryMismatch(self.path, what, getattr(found, what), wanted)
        return found

    def seal(self) -> None:
        """Gives a cluster.json of an earlier version its checksum; never while another process does."""
        found = decode_cluster(self.cluster_path, read_whole(self.cluster_path))
        if not found.is_sealed:
            write_durably(self.cluster_path, seal_json(found.value), OsFiles())

    def _check_new(self) -> None:
        """Raises FileMissing if there is data that a new cluster.json would not fit."""
        if self.shards_here() or (self.path / INVENTORY_NAME).exists():
            raise FileMissing(self.cluster_path, CLUSTER_REMEDY)


def _members(path: Path, data: bytes, owner: str) -> Unsealed[tuple[int, ...]]:
    if data.startswith(b"["):  # from before files were sealed
        try:
            return Unsealed(tuple(sorted(msgspec.json.decode(data, type=set[int]))), False)
        except msgspec.DecodeError as error:
            raise DirectoryDamaged(path, str(error)) from error
    found = unseal_json(path, data, _Members, owner)
    return Unsealed(tuple(found.value.members), found.is_sealed, found.generation)


def decode_cluster(path: Path, data: bytes) -> Unsealed[ClusterFile]:
    """The cluster in the bytes of cluster.json; DirectoryDamaged unless they are as written."""
    found = unseal_json(path, data, ClusterFile)
    if not _KEY.fullmatch(found.value.key):
        raise DirectoryDamaged(path, "its key is no hexadecimal number of 128 bits")
    if not 1 <= found.value.shards <= found.value.partitions:
        raise DirectoryDamaged(path, f"{found.value.shards} shards cannot share {found.value.partitions} partitions")
    return found


def shard_name(shard: int) -> str:
    """Name under which a shard's directory is listed: its holdings file, which a mount point without its disk lacks."""
    return f"{_SHARD}{shard}/{HOLDINGS_NAME}"


def _shard_of(name: str) -> int | None:
    number = name.removeprefix(_SHARD).removesuffix(f"/{HOLDINGS_NAME}")
    return int(number) if number.isdecimal() and name == shard_name(int(number)) else None
