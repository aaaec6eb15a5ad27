"""A file of lines that grows at its end, and whose last line a crash may cut.

A line counts once it was acknowledged, after it was written whole. Bytes after the last end of line were never
acknowledged, unless they are before a position up to which lines were: then that line's end was damaged, and it gets
a new one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from cdp_store.outside.seams import AppendFile

_READ_BYTES: Final = 1 << 16


class LineLog:
    """Appends whole lines to a file that nobody else writes to meanwhile.

    `reading` is a descriptor of the same file, used while the log is opened; lines before `answered_for` bytes were
    acknowledged.
    """

    def __init__(self, file: AppendFile, reading: int, answered_for: int = 0) -> None:
        self._file, self._is_torn = file, False
        before = os.fstat(reading).st_size
        self.size = _whole(reading, before)
        if self.size < min(before, answered_for):
            file.write(b"\n")
            self.size = before + 1
        elif self.size < before:
            file.truncate(self.size)
        self.was_mended = self.size != before

    def append(self, lines: bytes) -> None:
        """Writes lines, each with its end; OSError unless all were written, and then none remains."""
        if self._is_torn:
            self._take_back()
        self._is_torn = True
        try:
            self._file.write(lines)
        except OSError:
            with suppress(OSError):  # otherwise before the next lines, or at the next start
                self._take_back()
            raise
        self._is_torn, self.size = False, self.size + len(lines)

    def sync(self) -> None:
        """Makes everything written durable."""
        self._file.sync()

    def close(self) -> None:
        """Releases the file."""
        self._file.close()

    def _take_back(self) -> None:
        self._file.truncate(self.size)
        self._is_torn = False


def _whole(descriptor: int, size: int) -> int:
    """Bytes of a file up to its last end of line."""
    while size:
        begin = max(size - _READ_BYTES, 0)
        end = os.pread(descriptor, size - begin, begin).rfind(b"\n")
        if end >= 0:
            return begin + end + 1
        size = begin
    return 0
