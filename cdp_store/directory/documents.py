"""Small documents of a cluster, such as its named segments: kept with a partition, with versions.

They are not part of profiles: they are in a file of the shard that holds the partition and move with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cdp_store.directory.inventory import INVENTORY_NAME, Inventory, ListedFile, missing, read_inventory
from cdp_store.directory.shard_directory import OUTDATED, RESTORE_OR_SALVAGE, ShardIdentity
from cdp_store.errors import (
    DocumentChanged,
    DocumentTooLarge,
    FileMissing,
    StorageFull,
    StoreFailed,
)
from cdp_store.fuse import Fuse
from cdp_store.ids import PartitionId
from cdp_store.limits import DOCUMENT_BYTES_MAX
from cdp_store.log.local import NO_ROOM
from cdp_store.outside.sealed import Unsealed, decode_document, seal_bytes, unseal_bytes
from cdp_store.outside.seams import Files

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
            # A value that another thread sets meanwhile is newer than this reading.
            self._known.setdefault(partition, self._read(partition))
        return self._known[partition]

    def put(
        self, partition: PartitionId, name: str, expected: int, content: bytes, *, essential: bool = False
    ) -> Document:
        """Replaces a document at version `expected` (0: it does not exist), durably.

        An essential one (which an erasure needs) may use the room held back for such documents.
        Raises DocumentChanged at another version, and StorageFull or StoreFailed when it was not written.
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
        """Replaces all documents of a partition, durably."""
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
        file, content = self._file(partition), msgspec.msgpack.encode(_Stored(_FORMAT, dict(documents)))

        def replace() -> None:
            file.path.parent.mkdir(exist_ok=True)
            self._files.sync_directory(self._shard)
            file.replace(lambda generation: seal_bytes(content, file.owner, generation), self._files)

        try:
            replace()
        except OSError as error:
            if error.errno not in NO_ROOM or not essential or not self._make_room():
                raise
            replace()

    def settle(self) -> None:
        """Gives files of earlier versions their generation, and updates the list; OSError if that fails."""
        for path in paths_in(self._shard):
            number = PartitionId(int(path.name[1:]))
            if not self._file(number).settle(self._files):
                self._write(number, self.of(number), essential=False)

    def check(self) -> None:
        """Reads all documents; DirectoryDamaged or FileMissing if one is damaged or missing."""
        for path in missing(self._shard, self._identity.mark(INVENTORY_NAME)):
            raise FileMissing(path, RESTORE_OR_SALVAGE)
        for path in paths_in(self._shard):
            self.of(PartitionId(int(path.name[1:])))

    def _read(self, partition: PartitionId) -> Mapping[str, Document]:
        file = self._file(partition)
        if file.path.exists():
            return file.read(documents_in)
        known = read_inventory(self._shard, self._identity.mark(INVENTORY_NAME)) or Inventory()
        if file.name in known.files:
            raise FileMissing(file.path, RESTORE_OR_SALVAGE)
        return {}

    def _file(self, partition: PartitionId) -> ListedFile:
        return ListedFile(self._shard, file_name(partition), self._identity.mark, OUTDATED)


def documents_in(path: Path, data: bytes, owner: str) -> Unsealed[Mapping[str, Document]]:
    """The documents in the bytes of a file; DirectoryDamaged unless they are as written."""
    found = unseal_bytes(path, data, owner)
    stored = decode_document(path, found.value, _Stored, _FORMAT, msgspec.msgpack.decode)
    return Unsealed(stored.documents, found.is_sealed, found.generation)


def _no_room() -> bool:
    return False


def file_name(partition: PartitionId) -> str:
    """Path of the documents of a partition below its shard's directory."""
    return f"{FOLDER}/p{partition:04d}"


def paths_in(directory: Path) -> list[Path]:
    """The files of documents in a shard's directory."""
    return sorted(path for path in (directory / FOLDER).glob("p*") if path.name[1:].isdecimal())
