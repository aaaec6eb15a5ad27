"""LocalLog: one file set per shard for all its partitions, one sync per commit group."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cdp_store.errors import BatchTooLarge, StorageFull, StoreFailed
from cdp_store.fuse import Fuse
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import LOG_RECORD_BYTES_MAX, LOG_SEGMENT_BYTES
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_SUFFIX,
    VERSION,
    LogEntry,
    LogRecord,
    encode_file_header,
    encode_record,
)
from cdp_store.log.position import Position, PositionFile, read_position, reset_position
from cdp_store.log.replaying import hand_over
from cdp_store.log.reserve import Reserve
from cdp_store.log.salvage import QUARANTINE_NAME
from cdp_store.log.segment_reader import (
    Positions,
    RecordOrder,
    check_beginning,
    durable_position,
    finished_segments,
    number_of,
    read_header,
    read_segment,
)
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.seams import AppendFile, Files
from cdp_store.outside.whole_files import leftovers, remove_leftovers, write_durably

_AFTER_RESTORE: Final = 2  # the first segment of a log that needs a snapshot to start
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def begin_after_snapshot(directory: Path, files: Files) -> None:
    """Makes the log of a directory whose data are in a snapshot only: it refuses to start without that snapshot."""
    write_durably(directory / f"{_AFTER_RESTORE:08d}{SEGMENT_SUFFIX}", encode_file_header(), files)
    reset_position(directory, Position(_AFTER_RESTORE, FILE_HEADER_BYTES), files)


@dataclass(slots=True)
class _Segment:
    path: Path
    last: dict[PartitionId, SequenceNumber] = field(default_factory=dict)


class LocalLog:
    """Appends commit groups durably and replays them after a restart.

    After a failed sync, or a failed write that could not be undone, the fuse is blown and every append raises
    StoreFailed. `append` and `sync` have one caller at a time; `sync_position` and `trim` may run alongside them.
    """

    def __init__(
        self,
        directory: Path,
        files: Files,
        segment_bytes: int = LOG_SEGMENT_BYTES,
        mode: SyncMode = SyncMode.ALWAYS,
        fuse: Fuse | None = None,
    ) -> None:
        self._directory, self._files, self._segment_bytes, self._mode = directory, files, segment_bytes, mode
        self._reserve = Reserve(directory, files)
        self._file: AppendFile | None = None
        self._position: PositionFile | None = None
        self._segments = list[_Segment]()  # the last one is being written
        self._size = self._synced = 0
        self.appended_bytes = 0  # since the start
        self.fuse = fuse or Fuse()

    def replay(
        self,
        take: Callable[[LogRecord], None],
        progress: Callable[[int, int], None],
        start: Positions | None = None,
    ) -> int:
        """Hands every record after `start` to `take`, oldest first, cuts a torn tail off, and opens for appending.

        `start` is where a snapshot ends, None without one. `progress(done, total)` receives bytes. Returns how many
        bytes were cut off.
        """
        position = durable_position(self._directory)
        paths = finished_segments(self._directory, position)
        total, done, cut = sum(path.stat().st_size for path in paths), 0, 0
        check_beginning(paths, start)
        order = RecordOrder(start or {})
        for path in paths:
            last, offset, segment = path is paths[-1], FILE_HEADER_BYTES, _Segment(path)
            for record in read_segment(path, last=last, position=position, held=start):
                if order.is_new(path, offset, record):
                    hand_over(take, path, offset, record)
                segment.last[record.partition] = record.sequence
                progress(done + record.end, total)
                offset = record.end
            self._segments.append(segment)
            size = path.stat().st_size
            done += size
            if last:
                cut = self._open_existing(path, offset, size)
        # A new log has none, and one of version 1 had none; from here on a missing one means damage.
        if read_position(self._directory) is None:
            reset_position(self._directory, position, self._files)
        self._position = PositionFile(self._directory, self._files)
        if not paths:
            self._start_segment(self._create(position.segment + 1))
        # A segment has one version: new records are not appended to a file whose header states another.
        elif read_header(paths[-1]) != VERSION:
            self._roll()
        self._note_position()
        self._sync(self._position.sync)
        self._reserve.fill()
        return cut

    def append(self, entries: Sequence[LogEntry], *, essential: bool = False) -> None:
        """Writes a commit group and, in mode ALWAYS, makes it durable.

        An essential group (one that removes data) may use the reserved space. Raises StorageFull when there was no
        space, and BatchTooLarge for an entry that no reader would accept: nothing of the group stays. Raises
        StoreFailed when the group's fate is unknown.
        """
        for entry in entries:
            if len(entry.payload) > LOG_RECORD_BYTES_MAX:
                raise BatchTooLarge(len(entry.payload), LOG_RECORD_BYTES_MAX)
        with self.fuse.whole("appending to the log", harmless=(StorageFull,)):
            try:
                self._write(entries)
            except StorageFull:
                if not essential or not self._reserve.release():
                    raise
                self._write(entries)
            for entry in entries:
                self._segments[-1].last[entry.partition] = entry.sequence
            if self._mode is SyncMode.ALWAYS:
                self.sync()

    def make_room(self) -> bool:
        """Releases the space reserved for removals of data; True if there was any. Has the same caller as `append`."""
        return self._reserve.release()

    def roll(self) -> None:
        """Begins a new segment, so that `trim` can remove everything appended before; has the same caller as `append`.

        May use the reserved space. Raises StorageFull when there was none, StoreFailed when the process must stop.
        """
        with self.fuse.whole("beginning a segment of the log", harmless=(StorageFull,)):
            # Nothing was appended since it began: it is already the new segment.
            if self._size == FILE_HEADER_BYTES:
                return
            try:
                self._roll()
            except OSError as error:
                if error.errno not in NO_ROOM or not self._reserve.release():
                    raise self._undo_write(error) from error
                try:
                    self._roll()
                except OSError as second:
                    raise self._undo_write(second) from second

    def sync(self) -> None:
        """Makes everything appended durable; StoreFailed when that fails."""
        self.fuse.check()
        # A sync of nothing would still wait for the disk.
        if self._synced == self._size:
            return
        self._sync(self._opened().sync)
        self._synced = self._size
        self._note_position()

    def sync_position(self) -> None:
        """Makes the log's durable position durable, so that damage to the last record differs from a torn write."""
        if self._position is not None and not self.fuse.is_blown:
            self._sync(self._position.sync)

    def trim(self, upto: Positions) -> int:
        """Removes the oldest segments that hold nothing after `upto`; returns how many."""
        removed = 0
        while len(self._segments) > 1:
            oldest = self._segments[0]
            # Only from the front: a later segment may be superfluous as well, but a log with a gap is refused.
            if any(upto.get(partition, 0) < sequence for partition, sequence in oldest.last.items()):
                break
            self._files.remove(oldest.path)
            # One at a time, or a power loss might remove a later one and leave this one: a log with a gap.
            self._files.sync_directory(self._directory)
            del self._segments[0]
            removed += 1
        if removed:
            self._reserve.fill()
        return removed

    def remove_leftovers(self) -> None:
        """Removes unfinished files of a killed salvage or start; they may hold records."""
        remove_leftovers(leftovers(self._directory), self._files)

    def quarantined(self) -> list[Path]:
        """Files that salvages set aside."""
        return sorted((self._directory / QUARANTINE_NAME).glob("*"))

    @property
    def nbytes(self) -> int:
        """Bytes of all segments."""
        size = 0
        for segment in tuple(self._segments):
            with suppress(FileNotFoundError):  # trimmed meanwhile
                size += segment.path.stat().st_size
        return size

    def close(self) -> None:
        """Closes the files; anything not synced may be lost with the machine."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._position is not None:
            self._position.close()
            self._position = None

    def _opened(self) -> AppendFile:
        assert self._file is not None, "replay opens the log"
        return self._file

    def _write(self, entries: Sequence[LogEntry]) -> None:
        size = sum(RECORD_HEADER_BYTES + len(entry.payload) for entry in entries)
        try:
            if self._size + size > self._segment_bytes and self._size > FILE_HEADER_BYTES:
                self._roll()
            # One write for the group. `_synced` in each record distinguishes damage from a torn write without the
            # position.
            self._opened().write(b"".join(encode_record(*entry, self._synced) for entry in entries))
        except OSError as error:
            raise self._undo_write(error) from error
        self._size += size
        self.appended_bytes += size

    def _undo_write(self, error: OSError) -> StorageFull | StoreFailed:
        try:
            # Half a group must not stay: later records after it would turn a torn write into damage.
            self._opened().truncate(self._size)
        except OSError as second:
            return self.fuse.blow(f"{error}; and cutting the file back failed: {second}")
        if error.errno in NO_ROOM:
            return StorageFull(self._segments[-1].path, str(error))
        return self.fuse.blow(str(error))

    def _sync(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as error:
            raise self.fuse.blow(f"sync of the log in {self._directory}: {error}") from error

    def _note_position(self) -> None:
        assert self._position is not None
        position = self._position
        self._sync(lambda: position.write(Position(number_of(self._segments[-1].path), self._synced)))

    def _roll(self) -> None:
        self.sync()
        # The new one is durable before the old one is closed: without space for it, the log continues in the old one.
        created = self._create(number_of(self._segments[-1].path) + 1)
        self._opened().close()
        self._start_segment(created)

    def _start_segment(self, created: tuple[AppendFile, Path]) -> None:
        self._file, path = created
        self._segments.append(_Segment(path))
        self._size = self._synced = FILE_HEADER_BYTES

    def _create(self, number: int) -> tuple[AppendFile, Path]:
        """A new segment with its header, durable; the current one is not changed."""
        path = self._directory / f"{number:08d}{SEGMENT_SUFFIX}"
        file = self._files.open_append(path)
        try:
            # A killed start may have left one of this number with part of a header.
            file.truncate(0)
            file.write(encode_file_header())
            self._sync(file.sync)
            self._sync(lambda: self._files.sync_directory(self._directory))
        except (OSError, StoreFailed):
            file.close()
            raise
        return file, path

    def _open_existing(self, path: Path, good: int, size: int) -> int:
        self._file = self._files.open_append(path)
        if good < size:
            self._file.truncate(good)
        # What a killed process wrote or removed without a sync may be only in memory, and counts from here on.
        self._file.sync()
        self._files.sync_directory(self._directory)
        self._size = self._synced = good
        return size - good
