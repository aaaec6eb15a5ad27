"""The faulty twin of the Files seam: it fails as planned, and a crash drops what was never synced.

It works on real files, so that code that reads them needs no seam.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from cdp_store.outside.seams import AppendFile, OsFiles, UpdateFile

_WRITES: Final = ("write", "update")  # these leave a part of their bytes in the file


@dataclass(frozen=True, slots=True)
class Fault:
    """The n-th `operation` from now on (1 is the next one) fails; a write still writes its first `written` bytes."""

    operation: str  # open, write, update, sync, truncate, rename, remove, allocate, sync_directory, or any of them: any
    number: int
    error: int
    written: int = 0


class FaultyFiles:
    """Files on the real file system with planned faults and a record of what is durable."""

    def __init__(self, *faults: Fault) -> None:
        self._real = OsFiles()
        self.counts = Counter[str]()
        self.struck = ""  # the operation that failed
        self._durable = dict[Path, int]()  # bytes that survive a crash
        self._listed = set[Path]()  # files whose directory entry survives
        self._hidden = dict[Path, bytes]()  # durable content of files that were removed or replaced since
        self._replaced = set[Path]()  # of the hidden ones, those whose name another file took
        self._overwritten = dict[Path, bytes]()  # durable content of files that were written in place since
        self.plan(*faults)

    def plan(self, *faults: Fault) -> None:
        """Restarts the count of operations and fails as these faults state."""
        self.counts.clear()
        self._faults = faults

    def open_append(self, path: Path) -> AppendFile:
        self.strike("open")
        self._know(path)
        self._durable.setdefault(path, 0)
        return _FaultyFile(self, path, self._real.open_append(path))

    def open_update(self, path: Path) -> UpdateFile:
        self.strike("open")
        self._know(path)
        return _FaultyUpdateFile(self, path, self._real.open_update(path))

    def allocate(self, path: Path, size: int) -> None:
        self.strike("allocate")
        with path.open("wb") as file:
            file.truncate(size)  # crash schedules do not depend on the room itself, and allocating it is slow
        self._durable[path] = size

    def rename(self, source: Path, target: Path) -> None:
        self.strike("rename")
        self._hide(target)
        self._replaced.add(target)
        self._real.rename(source, target)
        self._durable[target] = self._durable.pop(source)
        self._listed -= {source, target}

    def remove(self, path: Path) -> None:
        self.strike("remove")
        if path.exists():
            self._know(path)
            self._hide(path)
            self._real.remove(path)
            self._durable.pop(path, None)
            self._listed.discard(path)

    def sync_directory(self, path: Path) -> None:
        self.strike("sync_directory")
        self._real.sync_directory(path)
        self._listed.update(each for each in self._durable if each.parent == path)
        self._hidden = {each: content for each, content in self._hidden.items() if each.parent != path}

    def crash(self, chance: Random | None = None) -> None:
        """Simulates a power loss: synced bytes stay under synced names, elsewhere the earlier content returns.

        With `chance`, any part of the unsynced bytes may be there as well.
        """

        def survives() -> bool:
            return chance is not None and chance.random() < 0.5

        for path, size in self._durable.items():
            if path not in self._listed and not survives():
                path.unlink()
                continue
            before = self._overwritten.get(path)
            if before is None and path.stat().st_size == size:
                continue
            content = path.read_bytes() if before is None or survives() else before
            path.write_bytes(content[:size] + _remains(content[size:], chance))
        for path, content in self._hidden.items():
            # A new name may have replaced the old one durably; a removal may be durable too.
            if not path.exists() and (path in self._replaced or not survives()):
                path.write_bytes(content)
        self._durable, self._listed, self._hidden, self._overwritten = {}, set(), {}, {}
        self._replaced = set()

    def _know(self, path: Path) -> None:
        """Records an existing file as durable as it is."""
        if path not in self._durable and path.exists():
            self._durable[path] = path.stat().st_size
            self._listed.add(path)

    def _hide(self, path: Path) -> None:
        """Records that the entry of `path` is about to go; until its directory is synced a crash restores it."""
        if path.exists():
            self._know(path)
        if path in self._listed and path not in self._hidden:
            self._hidden[path] = (self._overwritten.pop(path, None) or path.read_bytes())[: self._durable[path]]

    def strike(self, operation: str) -> int:
        """Counts an operation; raises if it must fail at once, else returns the bytes a failing write may leave."""
        self.counts[operation] += 1
        self.counts["any"] += 1
        for fault in self._faults:
            due = fault.operation in (operation, "any") and self.counts[fault.operation] == fault.number
            if due and operation in _WRITES:
                return fault.written
            if due:
                self.struck = operation
                raise OSError(fault.error, "planned fault")
        return -1

    def error_of_write(self) -> OSError:
        """The error of the write that `strike` let through in part."""
        self.struck = "write"
        due = (f for f in self._faults if f.operation in (*_WRITES, "any") and self.counts[f.operation] == f.number)
        return OSError(next(due).error, "planned fault")

    def synced(self, path: Path) -> None:
        """Records all bytes of a file as durable."""
        self._durable[path] = path.stat().st_size
        self._overwritten.pop(path, None)

    def overwriting(self, path: Path) -> None:
        """Records that a file is about to be written in place; until its sync a crash restores its content."""
        self._overwritten.setdefault(path, path.read_bytes())

    def cut(self, path: Path, size: int) -> None:
        """Records that a file was truncated; durable bytes beyond `size` are gone in any case."""
        self._durable[path] = min(self._durable[path], size)


def _remains(unsynced: bytes, chance: Random | None) -> bytes:
    """Remains of bytes that were written and not synced: some first part, perhaps with holes of zeros."""
    if chance is None or not unsynced:
        return b""
    kept = bytearray(unsynced[: chance.randint(0, len(unsynced))])
    if kept and chance.random() < 0.3:
        start = chance.randrange(len(kept))
        kept[start : start + 512] = bytes(len(kept[start : start + 512]))
    return bytes(kept)


class _FaultyFile:
    def __init__(self, files: FaultyFiles, path: Path, real: AppendFile) -> None:
        self._files, self._path, self._real = files, path, real

    def write(self, data: bytes) -> None:
        written = self._files.strike("write")
        if written < 0:
            self._real.write(data)
            return
        self._real.write(data[:written])
        raise self._files.error_of_write()

    def sync(self) -> None:
        self._files.strike("sync")
        self._real.sync()
        self._files.synced(self._path)

    def truncate(self, size: int) -> None:
        self._files.strike("truncate")
        self._real.truncate(size)
        self._files.cut(self._path, size)

    def close(self) -> None:
        self._real.close()


class _FaultyUpdateFile:
    def __init__(self, files: FaultyFiles, path: Path, real: UpdateFile) -> None:
        self._files, self._path, self._real = files, path, real

    def write_at(self, offset: int, data: bytes) -> None:
        self._files.overwriting(self._path)
        written = self._files.strike("update")
        if written < 0:
            self._real.write_at(offset, data)
            return
        self._real.write_at(offset, data[:written])
        raise self._files.error_of_write()

    def sync(self) -> None:
        self._files.strike("sync")
        self._real.sync()
        self._files.synced(self._path)

    def close(self) -> None:
        self._real.close()
