"""The outside world of the store behind small interfaces: files and the clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol


class AppendFile(Protocol):
    """A file that grows at its end."""

    def write(self, data: bytes) -> None:
        """Append all of `data`; OSError leaves an unknown part of it behind."""

    def sync(self) -> None:
        """Make everything written durable."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes; later writes go on there."""

    def close(self) -> None:
        """Release the file."""


class UpdateFile(Protocol):
    """A file of fixed size that is written in place."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Overwrite the bytes from `offset` on; OSError leaves an unknown part of them behind."""

    def sync(self) -> None:
        """Make everything written durable."""

    def close(self) -> None:
        """Release the file."""


class Files(Protocol):
    """File system as the store uses it."""

    def open_append(self, path: Path) -> AppendFile:
        """Open for appending, creating the file if it is missing."""

    def open_update(self, path: Path) -> UpdateFile:
        """Open an existing file for writing in place."""

    def allocate(self, path: Path, size: int) -> None:
        """Make a file of `size` bytes that really takes up its room."""

    def remove(self, path: Path) -> None:
        """Remove a file if it is there; durable once its directory is."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, taking the place of what had it; durable once its directory is."""

    def sync_directory(self, path: Path) -> None:
        """Make the entries of a directory durable."""


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
