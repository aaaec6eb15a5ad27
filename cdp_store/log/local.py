"""LocalLog: one file set per shard for all its partitions, one sync per commit group."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cdp_store.errors import BatchMalformed, LogCorrupt, StorageFull, StoreFailed
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import LOG_SEGMENT_BYTES
from cdp_store.log.format import FILE_HEADER_BYTES, SEGMENT_SUFFIX, LogRecord, encode_file_header, encode_record
from cdp_store.log.reader import read_header, read_segment, segments
from cdp_store.seams import AppendFile, Files

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

LogEntry = tuple[PartitionId, SequenceNumber, bytes]


class LocalLog:
    """Appends commit groups durably and replays them after a restart.

    After a failed sync, or a failed write that could not be undone, every append raises StoreFailed.
    """

    def __init__(self, directory: Path, files: Files, segment_bytes: int = LOG_SEGMENT_BYTES) -> None:
        self._directory, self._files, self._segment_bytes = directory, files, segment_bytes
        self._file: AppendFile | None = None
        self._path = directory
        self._size = 0
        self._failure: str | None = None

    def replay(self, take: Callable[[LogRecord], None], progress: Callable[[int, int], None]) -> int:
        """Hand every logged record to `take`, oldest first, cut a torn tail off, and open the log for appending.

        `progress(done, total)` is told bytes. Returns the bytes cut off.
        """
        paths = segments(self._directory)
        # A segment whose header was never finished holds nothing; it is written anew when its number comes up.
        while paths and read_header(paths[-1]) is None:
            paths.pop()
        total, done, cut = sum(path.stat().st_size for path in paths), 0, 0
        expected = dict[PartitionId, int]()
        for path in paths:
            last, offset = path is paths[-1], FILE_HEADER_BYTES
            for record in read_segment(path, last=last):
                self._check_sequence(path, offset, record, expected)
                _taken(take, path, offset, record)
                progress(done + record.end, total)
                offset = record.end
            size = path.stat().st_size
            done += size
            if last:
                cut = self._open_existing(path, offset, size)
        if not paths:
            self._file, self._path, self._size = self._create(1)
        return cut

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Write a commit group and make it durable.

        Raises StorageFull when there was no room: nothing of the group stays. Raises StoreFailed when the group's
        fate is unknown.
        """
        if self._failure is not None:
            raise StoreFailed(self._failure)
        data = b"".join(encode_record(*entry) for entry in entries)
        try:
            if self._size + len(data) > self._segment_bytes and self._size > FILE_HEADER_BYTES:
                self._roll()
            self._opened().write(data)
        except OSError as error:
            raise self._undo_write(error) from error
        self._sync(self._opened().sync, self._path)
        self._size += len(data)

    def close(self) -> None:
        """Close the current segment."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> AppendFile:
        assert self._file is not None, "replay opens the log"
        return self._file

    def _undo_write(self, error: OSError) -> StorageFull | StoreFailed:
        try:
            self._opened().truncate(self._size)
        except OSError as second:
            self._failure = f"{error}; and cutting the file back failed: {second}"
            return StoreFailed(self._failure)
        if error.errno in _NO_ROOM:
            return StorageFull(self._path, str(error))
        self._failure = str(error)
        return StoreFailed(self._failure)

    def _sync(self, sync: Callable[[], None], path: Path) -> None:
        try:
            sync()
        except OSError as error:
            self._failure = f"sync of {path}: {error}"
            raise StoreFailed(self._failure) from error

    def _roll(self) -> None:
        created = self._create(int(self._path.stem) + 1)
        self.close()
        self._file, self._path, self._size = created

    def _create(self, number: int) -> tuple[AppendFile, Path, int]:
        """A new segment with its header, durable; the current one is not touched."""
        path, header = self._directory / f"{number:08d}{SEGMENT_SUFFIX}", encode_file_header()
        file = self._files.open_append(path)
        try:
            file.truncate(0)
            file.write(header)
            self._sync(file.sync, path)
            self._sync(lambda: self._files.sync_directory(self._directory), self._directory)
        except (OSError, StoreFailed):
            file.close()
            raise
        return file, path, len(header)

    def _open_existing(self, path: Path, good: int, size: int) -> int:
        self._path, self._file, self._size = path, self._files.open_append(path), good
        if good < size:
            self._file.truncate(good)
            self._file.sync()
        return size - good

    @staticmethod
    def _check_sequence(path: Path, offset: int, record: LogRecord, expected: dict[PartitionId, int]) -> None:
        wanted = expected.get(record.partition, 1)
        if record.sequence != wanted:
            reason = f"partition {record.partition} goes on with sequence {record.sequence} instead of {wanted}"
            raise LogCorrupt(path, offset, reason)
        expected[record.partition] = wanted + 1


def _taken(take: Callable[[LogRecord], None], path: Path, offset: int, record: LogRecord) -> None:
    try:
        take(record)
    except BatchMalformed as error:
        raise LogCorrupt(path, offset, f"its record is intact, but holds no batch: {error.reason}") from error
