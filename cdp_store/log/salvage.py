"""Salvage of a log: sets damaged parts aside, so that a shard can start with the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cdp_store.errors import LogCorrupt
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    SEGMENT_SUFFIX,
    VERSION,
    LogRecord,
    RecordKind,
    decode_file_header,
    decode_record,
    encode_file_header,
    encode_record,
    next_record,
)
from cdp_store.log.position import Position, read_position, reset_position
from cdp_store.log.segment_reader import Positions, number_of, segments
from cdp_store.outside.seams import Files
from cdp_store.outside.whole_files import write_durably

QUARANTINE_NAME: Final = "quarantine"


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes [start, stop) of a segment that hold no usable record."""

    path: Path
    start: int
    stop: int


@dataclass(slots=True)
class Salvaged:
    """Findings of a salvage: damaged bytes, whole files kept in quarantine, and sequence numbers lost by partition.

    A lost record at a partition's very end leaves no gap, so `lost` may be one group short.
    """

    damages: list[Damage] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    lost: dict[PartitionId, int] = field(default_factory=dict)

    def joined(self, later: Salvaged) -> Salvaged:
        """Findings of two passes together."""
        numbers = sorted({*self.lost, *later.lost})
        lost = {number: self.lost.get(number, 0) + later.lost.get(number, 0) for number in numbers}
        return Salvaged(self.damages + later.damages, self.kept + later.kept, lost)


class Salvage:
    """One pass over the log of a directory that no process uses."""

    def __init__(
        self, directory: Path, files: Files, start: Positions | None, is_usable: Callable[[LogRecord], bool]
    ) -> None:
        self._directory, self._files, self._is_usable = directory, files, is_usable
        self._start, self._has_snapshot, self._next = start or {}, start is not None, dict[PartitionId, int]()
        self._position = _position_if_readable(directory)
        self._end = Position()
        self.found = Salvaged()

    def run(self) -> Salvaged:
        """Rewrites the segments that are damaged or follow lost records; each is first kept whole in quarantine."""
        durable = self._position or Position()
        numbers = [number_of(path) for path in segments(self._directory)]
        # Without a snapshot everything must be in the log: records that were trimmed are lost.
        first = min(numbers, default=1) if self._has_snapshot else 1
        wanted = range(first, max([*numbers, durable.segment]) + 1)
        for number in wanted:
            path = self._directory / f"{number:08d}{SEGMENT_SUFFIX}"
            synced = durable.offset if number == durable.segment else 0
            self._salvage_segment(path, synced, is_last=number == wanted[-1])
        if wanted and (self._position is None or self.found.damages):
            reset_position(self._directory, self._end, self._files)
        return self.found

    def _salvage_segment(self, path: Path, durable: int, *, is_last: bool) -> None:
        data = path.read_bytes() if path.exists() else b""
        version = decode_file_header(data)
        good, damages = list[bytes](), list[Damage]()
        if version is None and (not is_last or durable or len(data) > FILE_HEADER_BYTES):
            damages.append(Damage(path, 0, min(len(data), FILE_HEADER_BYTES)))
        offset, has_gaps = FILE_HEADER_BYTES, False
        while offset < len(data):
            record = decode_record(data, offset, version or VERSION)
            if record is not None and self._fits(record):
                has_gaps |= self._note_gap(record, good)
                # Rewritten with `synced` 0: the offsets of the old file mean nothing in the new one.
                good.append(encode_record(record.partition, record.sequence, record.payload, record.kind))
                offset = record.end
                continue
            follower = next_record(data, offset, version or VERSION) if record is None else record.end
            # A torn write at the very end, which was never acknowledged: the next start cuts it off itself.
            if follower is None and is_last and offset >= durable:
                break
            damages.append(Damage(path, offset, follower or len(data)))
            offset = follower or len(data)
        if offset < durable:
            damages.append(Damage(path, offset, durable))
        self._end = Position(number_of(path), offset)
        if damages or has_gaps:
            self._replace(path, data, good)
        self.found.damages += damages

    def _fits(self, record: LogRecord) -> bool:
        return record.sequence >= self._next.get(record.partition, 0) and self._is_usable(record)

    def _note_gap(self, record: LogRecord, good: list[bytes]) -> bool:
        """Adds a record before this one for the sequence numbers missing between them; True if there were any."""
        first_wanted = min(self._start.get(record.partition, 0) + 1, record.sequence)
        missing = record.sequence - self._next.get(record.partition, first_wanted)
        self._next[record.partition] = record.sequence + 1
        if missing == 0 or record.kind == RecordKind.LOST:
            return False
        last_lost = SequenceNumber(record.sequence - 1)
        good.append(encode_record(record.partition, last_lost, b"", RecordKind.LOST))
        self.found.lost[record.partition] = self.found.lost.get(record.partition, 0) + missing
        return True

    def _replace(self, path: Path, data: bytes, good: list[bytes]) -> None:
        if data:
            quarantine = self._directory / QUARANTINE_NAME
            quarantine.mkdir(exist_ok=True)
            self._files.sync_directory(self._directory)
            # Never over an earlier one: each salvage keeps the segment as it found it.
            kept = next(each for n in range(1 << 20) if not (each := quarantine / f"{path.name}.{n}").exists())
            # The copy is durable before the segment is replaced: a kill in between leaves both as they were.
            write_durably(kept, data, self._files)
            self.found.kept.append(kept)
        content = encode_file_header() + b"".join(good)
        write_durably(path, content, self._files)
        self._end = Position(number_of(path), len(content))


def _position_if_readable(directory: Path) -> Position | None:
    try:
        found = read_position(directory)
    except LogCorrupt:
        return None
    return None if found is None else found[1]
