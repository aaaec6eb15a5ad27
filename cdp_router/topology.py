"""What a cluster is: its identity, secret, number of partitions, and how they were dealt out at first."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from cdp_store.arena import HashKey
from cdp_store.errors import DirectoryDamaged, DirectoryMismatch
from cdp_store.seams import OsFiles
from cdp_store.shard_directory import ShardIdentity
from cdp_store.whole_files import write_durably

CLUSTER_NAME: Final = "cluster.json"
_SHARD: Final = "shard-"


class ClusterFile(msgspec.Struct, frozen=True):
    """The content of cluster.json: made once with the data directory, never changed."""

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
        """The shard that owns a partition at first; `partition_map` knows who does today."""
        return partition % self.shards

    def shard_identity(self, shard: int) -> ShardIdentity:
        """Identity of a shard's directory."""
        return ShardIdentity(self.cluster, shard, self.first_partitions_of_shard(shard))


@dataclass(frozen=True, slots=True)
class ClusterDirectory:
    """The files of a cluster on this machine."""

    path: Path

    @property
    def cluster_path(self) -> Path:
        return self.path / CLUSTER_NAME

    @property
    def addresses_path(self) -> Path:
        """Where routers read at which address each shard is: written by `cdp up`, or by hand."""
        return self.path / "addresses.json"

    def members(self) -> tuple[int, ...]:
        """The shards that `cdp up` runs: those dealt partitions at first, until some are added or removed."""
        path = self._members_path
        if not path.exists():
            return tuple(range(self.load().shards))
        try:
            return tuple(sorted(msgspec.json.decode(path.read_bytes(), type=set[int])))
        except msgspec.DecodeError as error:
            raise DirectoryDamaged(path, str(error)) from error

    def set_members(self, shards: Iterable[int]) -> None:
        """Change which shards `cdp up` runs; a running one sees it within a second."""
        write_durably(self._members_path, msgspec.json.encode(sorted(shards)), OsFiles())

    def addresses(self) -> dict[int, str]:
        """Address of each shard; DirectoryDamaged when the file cannot be read."""
        path = self.addresses_path
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[int, str])
        except OSError as error:
            raise DirectoryDamaged(path, error.strerror or str(error)) from error
        except msgspec.DecodeError as error:
            raise DirectoryDamaged(path, str(error)) from error
        wrong = [address for address in found.values() if not address.rpartition(":")[2].isdecimal()]
        if wrong:
            raise DirectoryDamaged(path, f"{wrong[0]!r} is no host:port")
        return found

    def set_addresses(self, addresses: Mapping[int, str]) -> None:
        """Say where shards are; routers see it within a second."""
        encoded = msgspec.json.encode({str(shard): address for shard, address in sorted(addresses.items())})
        write_durably(self.addresses_path, encoded, OsFiles())

    @property
    def _members_path(self) -> Path:
        return self.path / "members.json"

    def shard_path(self, shard: int) -> Path:
        """Directory of one shard."""
        return self.path / f"{_SHARD}{shard}"

    def shards_here(self) -> list[int]:
        """The shards that have a directory here, those that were added later included."""
        names = (path.name.removeprefix(_SHARD) for path in self.path.glob(f"{_SHARD}*") if path.is_dir())
        return sorted(int(name) for name in names if name.isdecimal())

    def log_path(self, name: str) -> Path:
        """Where a process writes what it has to say."""
        return self.path / "logs" / f"{name}.log"

    def load(self) -> ClusterFile:
        """The cluster that lives here."""
        try:
            return msgspec.json.decode(self.cluster_path.read_bytes(), type=ClusterFile)
        except msgspec.DecodeError as error:
            raise DirectoryDamaged(self.cluster_path, str(error)) from error

    def load_or_create(self, shards: int, partitions: int) -> ClusterFile:
        """The cluster that lives here, made now if there is none; DirectoryMismatch when it has another shape."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.cluster_path.exists():
            made = ClusterFile(uuid.uuid4().hex, partitions, shards, secrets.token_hex(16))
            write_durably(self.cluster_path, msgspec.json.encode(made), OsFiles())
            return made
        found = self.load()
        for what, wanted in (("shards", shards), ("partitions", partitions)):
            if getattr(found, what) != wanted:
                raise DirectoryMismatch(self.path, what, getattr(found, what), wanted)
        return found
