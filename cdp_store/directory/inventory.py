"""Inventory of a directory: a list of the files that must be there, each with its generation.

A name is added once its file is durable and removed before the file is: a crash in between leaves a file that is not
listed, which the next start adds. A changed file gets a generation above all that its directory ever used, and the list
follows once the file is durable. So after a crash a file may be newer than the list states, and never older. An older
file means that an earlier version was put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from cdp_store.errors import DirectoryDamaged, FileOutdated
from cdp_store.log.local import NO_ROOM
from cdp_store.outside.locks import folder_locked
from cdp_store.outside.sealed import Unsealed, generation_in, read_sealed, read_whole, seal_json
from cdp_store.outside.seams import Files
from cdp_store.outside.whole_files import write_durably

INVENTORY_NAME: Final = "inventory.json"
Value = TypeVar("Value")


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: list[str]
    generations: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Inventory:
    """Files that must exist; the newest generation of each that has one; the last generation used."""

    files: frozenset[str] = frozenset()
    generations: Mapping[str, int] = field(default_factory=dict)
    newest: int = 0

    def after(self, add: Iterable[str], remove: Iterable[str], generations: Mapping[str, int]) -> Inventory:
        """The list with these changes; generations are never used again, not even those of removed files."""
        files = self.files - frozenset(remove) | frozenset(add)
        newest = max(self.newest, *generations.values(), 0)
        return Inventory(files, {**self.generations, **generations}, newest)


def read_inventory(directory: Path, owner: str) -> Inventory | None:
    """Inventory below a directory, None without a list; DirectoryDamaged for a bad one."""
    path = directory / INVENTORY_NAME
    if not path.exists():
        return None
    found = read_sealed(path, _Stored, owner)
    if not found.is_sealed:
        raise DirectoryDamaged(path, "it has no checksum")
    return Inventory(frozenset(found.value.files), found.value.generations, found.generation)


def write_inventory(directory: Path, inventory: Inventory, owner: str, files: Files) -> None:
    """Writes the list, replacing any earlier one."""
    stored = _Stored(sorted(inventory.files), dict(sorted(inventory.generations.items())))
    write_durably(directory / INVENTORY_NAME, seal_json(stored, owner, max(inventory.newest, 1), indent=1), files)


def record(
    directory: Path,
    owner: str,
    files: Files,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    generations: Mapping[str, int] | None = None,
) -> None:
    """Changes the list, durably; one process at a time. OSError if it cannot be written."""
    with folder_locked(directory):
        _record(directory, owner, files, add, remove, generations or {})


def _record(
    directory: Path,
    owner: str,
    files: Files,
    add: Iterable[str],
    remove: Iterable[str],
    generations: Mapping[str, int],
) -> None:
    before = read_inventory(directory, owner)
    after = (before or Inventory()).after(add, remove, generations)
    if after != before:
        write_inventory(directory, after, owner, files)


def missing(directory: Path, owner: str) -> list[Path]:
    """Files that are in a directory's list and do not exist."""
    found = read_inventory(directory, owner) or Inventory()
    return [directory / name for name in sorted(found.files) if not (directory / name).exists()]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that must exist once it was written, at its newest generation; `remedy` is the advice if it does not."""

    directory: Path
    name: str
    mark: Callable[[str], str]
    """Mark of the owner, by the name of the file."""
    remedy: str

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.directory / self.name

    @property
    def owner(self) -> str:
        """Mark of the file's owner."""
        return self.mark(self.name)

    def read(self, unseal: Callable[[Path, bytes, str], Unsealed[Value]]) -> Value:
        """The content of the file; DirectoryDamaged if it cannot be used, FileOutdated for an earlier version."""
        known = self.generation()  # read first: a concurrent write makes the file newer
        found = unseal(self.path, read_whole(self.path), self.owner)
        if found.generation < known:
            raise FileOutdated(self.path, found.generation, known, self.remedy)
        return found.value

    def generation(self) -> int:
        """The newest generation in the list, 0 if it has none."""
        known = read_inventory(self.directory, self.mark(INVENTORY_NAME)) or Inventory()
        return known.generations.get(self.name, 0)

    def replace(self, seal: Callable[[int], bytes], files: Files) -> None:
        """Writes the file durably at a new generation; from then on it must exist.

        Raises OSError if the file was not replaced. A list without room is updated later.
        """
        owner = self.mark(INVENTORY_NAME)
        with folder_locked(self.directory):
            known = read_inventory(self.directory, owner) or Inventory()
            generation = max(known.newest, generation_in(self.path)) + 1
            write_durably(self.path, seal(generation), files)
            try:
                _record(self.directory, owner, files, [self.name], (), {self.name: generation})
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise

    def settle(self, files: Files) -> bool:
        """Updates the list for a file that is newer than it states; False for a file without a generation.

        Raises OSError if the list cannot be written.
        """
        found = generation_in(self.path)
        if found > self.generation():
            record(self.directory, self.mark(INVENTORY_NAME), files, [self.name], generations={self.name: found})
        return found > 0

    def accept(self, files: Files) -> None:
        """Accepts an earlier version as the newest one from now on. OSError if that cannot be recorded."""
        found = generation_in(self.path)
        record(self.directory, self.mark(INVENTORY_NAME), files, generations={self.name: found})
