"""Files whose writes and syncs fail, wait or are counted, on command."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

from cdp_store.outside.seams import AppendFile, OsAppendFile, OsFiles


class FaultyFiles(OsFiles):
    """The operating system's files with faults; all files of one instance share them."""

    def __init__(self) -> None:
        self.room: int | None = None  # bytes that may still be written
        self.sync_error: OSError | None = None
        self.syncs = 0
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.syncing = threading.Event()

    def open_append(self, path: Path) -> AppendFile:
        return _FaultyFile(path, self)


class _FaultyFile(OsAppendFile):
    def __init__(self, path: Path, faults: FaultyFiles) -> None:
        super().__init__(path)
        self._faults = faults

    def write(self, data: bytes) -> None:
        room = self._faults.room
        if room is not None and len(data) > room:
            super().write(data[:room])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(data)

    def sync(self) -> None:
        self._faults.syncs += 1
        self._faults.syncing.set()
        self._faults.may_sync.wait()
        if self._faults.sync_error is not None:
            raise self._faults.sync_error
        super().sync()
