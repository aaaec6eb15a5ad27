"""Small documents of a cluster, such as its named segments: kept with a partition, with versions.

They are no data of profiles: they stand in a file of the shard that holds the partition and go with it when it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cdp_store.errors import (
    DirectoryDamaged,
    DocumentChanged,
    DocumentTooLarge,
    FileMissing,
    StorageFull,
    StoreFailed,
)
from cdp_store.fuse import Fuse
from cdp_store.ids import PartitionId
from cdp_store.inventory import INVENTORY_NAME, missing, read_inventory, record
from cdp_store.limits import DOCUMENT_BYTES_MAX
from cdp_store.log.local import NO_ROOM
from cdp_store.sealed import check_format, read_whole, seal_bytes, unseal_bytes
from cdp_store.seams import Files
from cdp_store.shard_directory import RESTORE_OR_SALVAGE, ShardIdentity
from cdp_store.whole_files import write_durably

FOLDER: Final = "documents"
ERASURES: Final = "erasures"
"""The document that an erasure writes before it begins: it may use room held back."""
_FORMAT: Final = 1


class Document(msgspec.Struct, frozen=True, array_like=True):
    """Content at a version; versions count from 1."""

    version: int
    content: bytes


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    documents: dict[str, Document]


class Documents:
    """The documents of all partitions that a shard holds; changed by one caller at a time, read by any."""

    def __init__(
        self,
        directory: Path,
        identity: ShardIdentity,
        files: Files,
        fuse: Fuse | None = None,
        make_room: Callable[[], bool] | None = None,
    ) -> None:
        self._shard, self._identity, self._files, self._fuse = directory, identity, files, fuse or Fuse()
        self._make_room = make_room or _no_room
        self._known = dict[PartitionId, Mapping[str, Document]]()

    def of(self, partition: PartitionId) -> Mapping[str, Document]:
        """All of a partition, by name."""
        if partition not in self._known:
            # What another thread puts there meanwhile is newer than what is read here.
            self._known.setdefault(partition, self._read(partition))
        return self._known[partition]

    def put(
        self, partition: PartitionId, name: str, expected: int, content: bytes, *, essential: bool = False
    ) -> Document:
        """Replace a document that stands at version `expected` (0: is not there), durably.

        An essential one (which an erasure needs) may use the room held back for such.
        Raises DocumentChanged when it stands at another one, and StorageFull or StoreFailed when it was not written.
        """
        if len(content) > DOCUMENT_BYTES_MAX:
            raise DocumentTooLarge(name, len(content), DOCUMENT_BYTES_MAX)
        before = self.of(partition)
        version = before[name].version if name in before else 0
        if version != expected:
            raise DocumentChanged(name, version)
        made = Document(version + 1, content)
        self.replace(partition, {**before, name: made}, essential=essential)
        return made

    def replace(self, partition: PartitionId, documents: Mapping[str, Document], *, essential: bool = False) -> None:
        """Make these the documents of a partition, durably."""
        if documents == self.of(partition):
            return
        path = self._shard / file_name(partition)
        with self._fuse.whole(f"writing {path}", harmless=(StorageFull,)):
            try:
                self._write(partition, documents, essential=essential)
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise StorageFull(path, str(error)) from error
                raise StoreFailed(f"{path} cannot be written: {error}") from error
            self._known[partition] = dict(documents)

    def _write(self, partition: PartitionId, documents: Mapping[str, Document], *, essential: bool) -> None:
        name = file_name(partition)
        path, content = self._shard / name, msgspec.msgpack.encode(_Stored(_FORMAT, dict(documents)))
        sealed = seal_bytes(content, self._identity.mark(name))
        try:
            path.parent.mkdir(exist_ok=True)
            self._files.sync_directory(path.parent.parent)
            write_durably(path, sealed, self._files)
        except OSError as error:
            if error.errno not in NO_ROOM or not essential or not self._make_room():
                raise
            path.parent.mkdir(exist_ok=True)
            write_durably(path, sealed, self._files)
        self._list(name)

    def _list(self, name: str) -> None:
        """Expect a file from now on. It is in place already: where there is no room, a later change or start does."""
        try:
            record(self._shard, self._identity.mark(INVENTORY_NAME), self._files, [name])
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise

    def seal(self) -> None:
        """Give files of an earlier version their checksum; OSError where that fails."""
        for path in paths_in(self._shard):
            name, number = f"{FOLDER}/{path.name}", PartitionId(int(path.name[1:]))
            if not unseal_bytes(path, read_whole(path), self._identity.mark(name)).is_sealed:
                self._write(number, self.of(number), essential=False)

    def check(self) -> None:
        """Read all there are; DirectoryDamaged or FileMissing where one is not what it should be."""
        for path in missing(self._shard, self._identity.mark(INVENTORY_NAME)):
            raise FileMissing(path, RESTORE_OR_SALVAGE)
        for path in paths_in(self._shard):
            self.of(PartitionId(int(path.name[1:])))

    def _read(self, partition: PartitionId) -> Mapping[str, Document]:
        name = file_name(partition)
        path = self._shard / name
        if not path.exists():
            if name in (read_inventory(self._shard, self._identity.mark(INVENTORY_NAME)) or ()):
                raise FileMissing(path, RESTORE_OR_SALVAGE)
            return {}
        content = unseal_bytes(path, read_whole(path), self._identity.mark(name)).value
        check_format(path, content, _FORMAT, msgspec.msgpack.decode)
        try:
            stored = msgspec.msgpack.decode(content, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DirectoryDamaged(path, str(error)) from error
        if stored.format != _FORMAT:
            raise DirectoryDamaged(path, f"there is no format {stored.format}")
        return stored.documents


def _no_room() -> bool:
    return False


def file_name(partition: PartitionId) -> str:
    """Path of the documents of a partition below its shard's directory."""
    return f"{FOLDER}/p{partition:04d}"


def paths_in(directory: Path) -> list[Path]:
    """The files of documents in a shard's directory."""
    return sorted(path for path in (directory / FOLDER).glob("p*") if path.name[1:].isdecimal())
