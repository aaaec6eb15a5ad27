"""The outside world of the store in small interfaces: files and the clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol


class AppendFile(Protocol):
    """A file that grows at its end."""

    def write(self, data: bytes) -> None:
        """Appends all of `data`; an OSError may leave an unknown part of it in the file."""

    def sync(self) -> None:
        """Makes everything written durable."""

    def truncate(self, size: int) -> None:
        """Cuts the file to `size` bytes; later writes continue there."""

    def close(self) -> None:
        """Releases the file."""


class UpdateFile(Protocol):
    """A file of fixed size that is written in place."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Overwrites the bytes from `offset` on; an OSError may leave an unknown part of them in the file."""

    def sync(self) -> None:
        """Makes everything written durable."""

    def close(self) -> None:
        """Releases the file."""


class Files(Protocol):
    """The operations of a file system that the store needs."""

    def open_append(self, path: Path) -> AppendFile:
        """Open for appending, creating the file if it is missing."""

    def open_update(self, path: Path) -> UpdateFile:
        """Opens an existing file for writing in place."""

    def allocate(self, path: Path, size: int) -> None:
        """Creates a file of `size` bytes that really occupies its room."""

    def remove(self, path: Path) -> None:
        """Removes a file if it exists; durable once its directory is synced."""

    def rename(self, source: Path, target: Path) -> None:
        """Renames a file, replacing any file of that name; durable once its directory is synced."""

    def sync_directory(self, path: Path) -> None:
        """Makes the entries of a directory durable."""


class Clock(Protocol):
    """Wall-clock time; durations are measured elsewhere, with a monotonic clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""


class DescriptorFile:
    """An AppendFile on a file descriptor of the operating system, open for appending."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


class OsAppendFile(DescriptorFile):
    """A file of the operating system, opened for appending."""

    def __init__(self, path: Path) -> None:
        super().__init__(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))


class OsUpdateFile:
    """An UpdateFile on a file descriptor of the operating system."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class OsFiles:
    """Files of the operating system."""

    def open_append(self, path: Path) -> AppendFile:
        return OsAppendFile(path)

    def open_update(self, path: Path) -> UpdateFile:
        return OsUpdateFile(path)

    def allocate(self, path: Path, size: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
