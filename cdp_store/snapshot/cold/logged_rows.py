"""Cold rows of the records that a stretch of the log holds, while the log is being written."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa

from cdp_store.errors import BatchMalformed
from cdp_store.ids import PartitionId
from cdp_store.limits import COLD_FILE_ROWS
from cdp_store.log.controls import decode_erasure, decode_retention
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    LogRecord,
    RecordHeader,
    RecordKind,
    decode_header,
    decode_record,
    next_record,
)
from cdp_store.log.segment_reader import Positions, read_header, segments
from cdp_store.snapshot.cold.cold_tables import LoggedBatch, table_of
from cdp_store.snapshot.cold.removals import Removals

_REMOVING = (RecordKind.ERASE, RecordKind.RETENTION)


class ColdSource(Protocol):
    """Source of the rows since the last snapshot."""

    @property
    def removals(self) -> Mapping[PartitionId, Removals]:
        """Removals; rows of `tables` are without them already."""

    @property
    def problems(self) -> list[str]:
        """Problems so far: records that could not be read."""

    def tables(self) -> Iterator[tuple[PartitionId, pa.Table]]:
        """Rows of partitions, those of each in order of arrival."""


# From the position after `start` up to `end`, both by partition.
ColdReader = Callable[[Positions, Positions], AbstractContextManager[ColdSource]]


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Beginning of a record."""

    segment: Path
    offset: int


@contextmanager
def logged_rows(
    directory: Path,
    start: Positions,
    end: Positions,
    wanted: Sequence[bytes] = (b"",),
    first: LogPlace | None = None,
) -> Iterator[LoggedRows]:
    """Rows of the log in a directory of the partitions in `end`, but for batches without any of the bytes `wanted`.

    Nothing before `first` is read: the caller knows that nothing after `start` is there. Nothing after `end` is read
    either: it may be half written. Segments stay readable until the end, even if removed.
    """
    paths = segments(directory)
    begin = paths.index(first.segment) if first is not None and first.segment in paths else 0
    with ExitStack() as stack:
        files = [(path, stack.enter_context(path.open("rb", buffering=0))) for path in paths[begin:]]
        yield LoggedRows(files, start, end, wanted, first)


class LoggedRows:
    """A ColdSource over open segments."""

    def __init__(
        self,
        files: Sequence[tuple[Path, IO[bytes]]],
        start: Positions,
        end: Positions,
        wanted: Sequence[bytes],
        first: LogPlace | None,
    ) -> None:
        self._files, self._wanted = files, wanted
        self._versions = [read_header(path) or 1 for path, _ in files]
        # (segment, offset, bytes) of each record, one after the other
        self._batches: dict[PartitionId, array[int]] = {}
        self.removals = dict[PartitionId, Removals]()
        self.problems = list[str]()
        self.rest = first  # nothing after `end` is before it; None: unknown
        self._look_through(start, end)

    def tables(self) -> Iterator[tuple[PartitionId, pa.Table]]:
        """Rows of one partition after the other, in portions."""
        for partition, places in self._batches.items():
            removals, group, rows = self.removals.get(partition, Removals()), list[LoggedBatch](), 0
            for batch in self._decoded(places):
                group.append(batch)
                rows += len(batch)
                if rows >= COLD_FILE_ROWS:
                    yield partition, removals.staying(table_of(partition, group), is_older=False)
                    group, rows = [], 0
            if group:
                yield partition, removals.staying(table_of(partition, group), is_older=False)

    def _look_through(self, start: Positions, end: Positions) -> None:
        reached = {partition: start.get(partition, 0) for partition in end}
        unread = {partition for partition, position in end.items() if reached[partition] < position}
        later: LogPlace | None = None
        for segment, offset, header in self._headers(self.rest) if unread else ():
            partition = header.partition
            if later is None and header.sequence > end.get(partition, header.sequence):
                later = LogPlace(self._files[segment][0], offset)
            if partition not in unread or header.sequence <= reached[partition]:
                continue
            self._take(segment, offset, header)
            reached[partition] = header.sequence
            if header.sequence >= end[partition]:
                unread.discard(partition)
            if not unread:
                behind = offset + RECORD_HEADER_BYTES + header.length
                self.rest = later or LogPlace(self._files[segment][0], behind)
                return
        for partition in sorted(unread):
            # Nothing may be left from before cold columns were kept.
            if start.get(partition, 0):
                problem = f"partition {partition}: the log ends at {reached[partition]} instead of {end[partition]}"
                self.problems.append(problem)

    def _headers(self, first: LogPlace | None) -> Iterator[tuple[int, int, RecordHeader]]:
        """(segment, offset, header) of every record, oldest first; of the segment `first` lies in, from there on."""
        for segment, (path, _) in enumerate(self._files):
            offset = first.offset if first is not None and path == first.segment else FILE_HEADER_BYTES
            while data := self._read(segment, offset, RECORD_HEADER_BYTES):
                header = decode_header(data, self._versions[segment])
                if header is not None:
                    yield segment, offset, header
                    offset += RECORD_HEADER_BYTES + header.length
                    continue
                self.problems.append(f"{path}: the record at offset {offset} is damaged")
                found = next_record(path.read_bytes(), offset, self._versions[segment])
                if found is None:
                    break
                offset = found

    def _take(self, segment: int, offset: int, header: RecordHeader) -> None:
        size = RECORD_HEADER_BYTES + header.length
        if header.kind == RecordKind.BATCH:
            self._batches.setdefault(header.partition, array("Q")).extend((segment, offset, size))
        elif header.kind in _REMOVING:
            record = self._record(segment, offset, size)
            if record is not None:
                removal = decode_erasure if record.kind == RecordKind.ERASE else decode_retention
                self.removals.setdefault(header.partition, Removals()).note(removal(record.payload), record.sequence)

    def _decoded(self, places: array[int]) -> Iterator[LoggedBatch]:
        for at in range(0, len(places), 3):
            segment, offset, size = places[at : at + 3]
            record = self._record(segment, offset, size)
            if record is None or not any(each in record.payload for each in self._wanted):
                continue
            try:
                yield LoggedBatch.decode(record.sequence, record.payload)
            except BatchMalformed as error:
                self.problems.append(f"{self._files[segment][0]}: the record at offset {offset}: {error.reason}")

    def _record(self, segment: int, offset: int, size: int) -> LogRecord | None:
        record = decode_record(self._read(segment, offset, size), 0, self._versions[segment])
        if record is None:
            self.problems.append(f"{self._files[segment][0]}: the record at offset {offset} is damaged")
        return record

    def _read(self, segment: int, offset: int, size: int) -> bytes:
        file = self._files[segment][1]
        file.seek(offset)
        return file.read(size)
