"""Reader of a shard's log, segment by segment."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from cdp_store.errors import LogCorrupt, LogUnsupported, RecordUnsupported
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    SEGMENT_SUFFIX,
    VERSION,
    LogRecord,
    RecordKind,
    decode_file_header,
    decode_record,
    synced_behind,
)
from cdp_store.log.position import POSITION_NAME, Position, read_position

Positions = Mapping[PartitionId, SequenceNumber]

BEHIND_ALL: Final = SequenceNumber(1 << 63)  # a start after every record
_KINDS: Final = frozenset(RecordKind)


def segments(directory: Path) -> list[Path]:
    """Segment files, oldest first."""
    return sorted(directory.glob(f"*{SEGMENT_SUFFIX}"))


def number_of(path: Path) -> int:
    """Number of a segment."""
    return int(path.stem)


def read_header(path: Path) -> int | None:
    """Format version of a segment; None when the file ends before its header or has an unfinished one.

    Raises LogCorrupt when there is more after a damaged header and LogUnsupported for a newer format.
    """
    with path.open("rb") as file:
        head = file.read(FILE_HEADER_BYTES + 1)
    version = decode_file_header(head)
    if version is None and len(head) > FILE_HEADER_BYTES:
        raise LogCorrupt(path, 0, "the file header is damaged")
    if version is not None and version > VERSION:
        raise LogUnsupported(path, version, VERSION)
    return version


def finished_segments(directory: Path, position: Position) -> list[Path]:
    """Segments that hold anything, oldest first.

    A newest segment whose header was never finished holds nothing. Raises LogCorrupt when a segment is missing.
    """
    paths = segments(directory)
    while paths and read_header(paths[-1]) is None:
        # Its header is synced before any record is written: without a complete one, nothing in it was acknowledged.
        paths.pop()
    for path, follower in pairwise(paths):
        if number_of(follower) != number_of(path) + 1:
            raise LogCorrupt(path, path.stat().st_size, f"the segment after it is missing; {follower.name} comes next")
    if position.segment > (number_of(paths[-1]) if paths else 0):
        gone = directory / f"{position.segment:08d}{SEGMENT_SUFFIX}"
        raise LogCorrupt(gone, 0, f"{position.offset} bytes of it were durable, and it is missing")
    return paths


def check_beginning(paths: Sequence[Path], start: Positions | None) -> None:
    """Raises LogCorrupt when segments before these were trimmed away, and there is no snapshot to start from (None)."""
    if start is None and paths and number_of(paths[0]) > 1:
        raise LogCorrupt(paths[0], 0, "what was logged before it has been removed, and no snapshot holds it")


def is_trimmed(directory: Path) -> bool:
    """True if segments before the existing ones were removed."""
    paths = segments(directory)
    return bool(paths) and number_of(paths[0]) > 1


def durable_position(directory: Path) -> Position:
    """Position up to which the log was known to be durable.

    Raises LogCorrupt when that file is damaged, or when it is missing and the segments were written with one.
    """
    found = read_position(directory)
    if found is not None:
        return found[1]
    for path in segments(directory):
        if (read_header(path) or 1) > 1:
            raise LogCorrupt(directory / POSITION_NAME, 0, "it is missing")
    return Position()


def read_segment(path: Path, *, last: bool, position: Position, held: Positions | None = None) -> Iterator[LogRecord]:
    """Records of one segment in order, those `held` elsewhere without payload.

    A torn tail, possible only in the last segment, ends the iteration. Raises LogCorrupt for damage to durable records.
    """
    version = read_header(path)
    if version is None:
        raise LogCorrupt(path, 0, "the file header is damaged")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _records(path, data, version, held or {}, last=last, position=position)


def _records(
    path: Path, data: mmap.mmap, version: int, held: Positions, *, last: bool, position: Position
) -> Iterator[LogRecord]:
    offset = FILE_HEADER_BYTES
    # Any segment but the last was durable before its successor was made, whatever the position states.
    durable = position.offset if position.segment == number_of(path) else 0
    while offset < len(data):
        record = decode_record(data, offset, version, held)
        if record is None:
            if not last or offset < max(durable, synced_behind(data, offset, version)):
                raise LogCorrupt(path, offset, "a record that was durable does not fit its checksum")
            return
        if record.kind not in _KINDS:
            raise RecordUnsupported(path, offset, record.kind)
        yield record
        offset = record.end
    if offset < durable:
        raise LogCorrupt(path, offset, f"it ends here, but {durable} bytes were durable")


def read_located(
    directory: Path, start: Positions, progress: Callable[[int, int], None]
) -> Iterator[tuple[Path, int, LogRecord]]:
    """Every record of a log after `start`, oldest first, with its file and its offset there.

    Changes nothing; a torn tail ends it. `progress(done, total)` receives bytes.
    """
    position, order = durable_position(directory), RecordOrder(start)
    paths = finished_segments(directory, position)
    total, done = sum(path.stat().st_size for path in paths), 0
    for path in paths:
        offset = FILE_HEADER_BYTES
        for record in read_segment(path, last=path is paths[-1], position=position, held=start):
            if order.is_new(path, offset, record):
                yield path, offset, record
            offset = record.end
            progress(done + offset, total)
        done += path.stat().st_size


def first_sequences(directory: Path, partitions: Iterable[PartitionId]) -> dict[PartitionId, SequenceNumber]:
    """The first sequence number in a log of each partition.

    Raises LogCorrupt when earlier records were trimmed away.
    """
    position = durable_position(directory)
    paths, found = finished_segments(directory, position), dict[PartitionId, SequenceNumber]()
    check_beginning(paths, None)
    held = dict.fromkeys(partitions, BEHIND_ALL)  # payloads are of no interest
    for path in paths:
        for record in read_segment(path, last=path is paths[-1], position=position, held=held):
            stands_for_all = record.kind == RecordKind.LOST
            found.setdefault(record.partition, SequenceNumber(1) if stands_for_all else record.sequence)
    return found


class RecordOrder:
    """Checks that each partition's records continue without a gap, and finds those after the start."""

    def __init__(self, start: Positions) -> None:
        self._start = start
        self._next = dict[PartitionId, int]()

    def is_new(self, path: Path, offset: int, record: LogRecord) -> bool:
        partition, start = record.partition, self._start.get(record.partition, 0)
        wanted = self._next.get(partition)
        # Up to the start, a snapshot holds records that the log may have lost before they were synced.
        fits = record.sequence == wanted or (wanted or 0) <= record.sequence <= start + 1
        # A record of kind LOST stands for all numbers up to its own.
        if not fits and not (record.kind == RecordKind.LOST and record.sequence >= (wanted or 1)):
            reason = f"partition {partition} goes on with sequence {record.sequence} instead of {wanted or start + 1}"
            raise LogCorrupt(path, offset, reason)
        self._next[partition] = record.sequence + 1
        return record.sequence > start
