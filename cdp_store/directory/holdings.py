"""Partitions that a shard holds, each at an epoch of the map; a change is durable before it takes effect.

owned     the shard answers for the partition; the only state in which it does
incoming  it is about to receive the partition from another shard, at this epoch
released  it gave the partition to another shard, at this epoch, and keeps it until that shard has it durably
gone      the other shard has it
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from cdp_store.directory.inventory import ListedFile
from cdp_store.directory.shard_directory import HOLDINGS_NAME, OUTDATED, RESTORE_OR_SALVAGE, ShardIdentity
from cdp_store.errors import FileMissing, RecordMisplaced, StorageFull, StoreFailed
from cdp_store.fuse import Fuse
from cdp_store.ids import PartitionId
from cdp_store.log.local import NO_ROOM
from cdp_store.outside.sealed import Unsealed, seal_json, unseal_json
from cdp_store.outside.seams import Files

FIRST_EPOCH: Final = 1


class HoldingState(enum.Enum):
    """Relation of a shard to a partition."""

    OWNED = "owned"
    INCOMING = "incoming"
    RELEASED = "released"
    GONE = "gone"


class Holding(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A shard's relation to one partition since `epoch`.

    `shard` is the source (incoming) or the destination (released, gone).
    """

    state: HoldingState
    epoch: int
    shard: int = 0

    @property
    def is_in_memory(self) -> bool:
        """True if the shard has the partition's data loaded."""
        return self.state in {HoldingState.OWNED, HoldingState.RELEASED}

    @property
    def owned_epoch(self) -> int:
        """The epoch at which the shard owns, or owned, the partition whose data it has."""
        return self.epoch - (self.state is HoldingState.RELEASED)


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holdings: dict[int, Holding]


class Holdings:
    """The holdings of one shard; changed by one caller at a time, read by any."""

    def __init__(self, directory: Path, identity: ShardIdentity, files: Files, fuse: Fuse | None = None) -> None:
        self._file, self._files, self._fuse = _listed(directory, identity), files, fuse or Fuse()
        self._holdings: Mapping[PartitionId, Holding] = read_holdings(directory, identity, is_checked=True)

    def all(self) -> Mapping[PartitionId, Holding]:
        """The holding of each partition that the shard ever dealt with; does not change afterwards."""
        return MappingProxyType(dict(self._holdings))

    def get(self, partition: PartitionId) -> Holding | None:
        """The holding of a partition, if the shard ever dealt with it."""
        return self._holdings.get(partition)

    def check_known(self, partition: PartitionId) -> None:
        """Raises RecordMisplaced for a partition that the shard never dealt with."""
        if partition not in self._holdings:
            raise RecordMisplaced(partition)

    def owned(self) -> list[PartitionId]:
        """The partitions the shard answers for, ascending."""
        return sorted(number for number, holding in self._holdings.items() if holding.state is HoldingState.OWNED)

    def in_memory(self) -> list[PartitionId]:
        """The partitions whose data is loaded, ascending."""
        return sorted(number for number, holding in self._holdings.items() if holding.is_in_memory)

    def change(self, partition: PartitionId, holding: Holding | None) -> None:
        """Sets or removes a holding: durable when this returns.

        Raises StorageFull if nothing was changed, and StoreFailed if that is unknown.
        """
        changed = {number: held for number, held in self._holdings.items() if number != partition}
        if holding is not None:
            changed[partition] = holding
        with self._fuse.whole(f"writing {self._file.path}", harmless=(StorageFull,)):
            try:
                _write(self._file, changed, self._files)
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise StorageFull(self._file.path, str(error)) from error
                raise StoreFailed(f"{self._file.path} cannot be written: {error}") from error
            self._holdings = changed

    def settle(self) -> None:
        """Gives a file of an earlier version its generation, and updates the list; OSError if that fails."""
        if not self._file.settle(self._files):
            _write(self._file, self._holdings, self._files)


def begin_holdings(
    directory: Path, identity: ShardIdentity, partitions: Iterable[PartitionId], epoch: int, files: Files
) -> None:
    """Makes a new shard's directory own these partitions from an epoch on."""
    owned = {number: Holding(HoldingState.OWNED, epoch) for number in partitions}
    _write(_listed(directory, identity), owned, files)


def read_holdings(directory: Path, identity: ShardIdentity, *, is_checked: bool = False) -> dict[PartitionId, Holding]:
    """The holdings in a shard's directory; in an old one, before the first change, those it was created with.

    Raises FileMissing if they were removed, unless that `is_checked`; DirectoryDamaged if they cannot be used.
    """
    file = _listed(directory, identity)
    if not file.path.exists():
        if identity.key and not is_checked:
            raise FileMissing(file.path, RESTORE_OR_SALVAGE)
        return dealt(identity)
    return {PartitionId(number): holding for number, holding in file.read(_unsealed).holdings.items()}


def _listed(directory: Path, identity: ShardIdentity) -> ListedFile:
    return ListedFile(directory, HOLDINGS_NAME, identity.mark, OUTDATED)


def _unsealed(path: Path, data: bytes, owner: str) -> Unsealed[_Stored]:
    return unseal_json(path, data, _Stored, owner)


def _write(file: ListedFile, holdings: Mapping[PartitionId, Holding], files: Files) -> None:
    stored = _Stored({int(number): holdings[number] for number in sorted(holdings)})
    file.replace(lambda generation: seal_json(stored, file.owner, generation), files)


def dealt(identity: ShardIdentity) -> dict[PartitionId, Holding]:
    """Holdings of a shard before any partition moves."""
    return {PartitionId(number): Holding(HoldingState.OWNED, FIRST_EPOCH) for number in identity.partitions}
