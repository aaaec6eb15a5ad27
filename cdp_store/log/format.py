"""Constants and byte layout of log segments; FORMAT.md is the description."""

from __future__ import annotations

import enum
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import google_crc32c

from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import LOG_RECORD_BYTES_MAX
from cdp_store.outside.checksums import crc32c_of

MAGIC: Final = b"CDPLOG\r\n"
VERSION: Final = 2
SEGMENT_SUFFIX: Final = ".cdplog"

# "<": little-endian without padding, so that the layout is that of FORMAT.md on every machine.
_FILE_HEADER: Final = struct.Struct("<8sII")
_RECORD_HEADER: Final = struct.Struct("<IIHBBIQ")
_CRC_END: Final = 8  # the checksum covers everything after length and crc
_KIND_AT: Final = 10
_MARK: Final = 0xC7  # rare in text and in small numbers, so that a search for records tries few places
_MARKS: Final = {1: 0, 2: _MARK}
_KINDS_MAX: Final = 16
_NOTHING_HELD: Final[Mapping[PartitionId, SequenceNumber]] = MappingProxyType({})
FILE_HEADER_BYTES: Final = _FILE_HEADER.size
RECORD_HEADER_BYTES: Final = _RECORD_HEADER.size


class RecordKind(enum.IntEnum):
    """Kind of a record's payload; a number is never reused for another kind (FORMAT.md)."""

    BATCH = 1
    LOST = 2
    ERASE = 3
    RETENTION = 4
    IDENTITY = 5
    SUPPRESSION = 6
    QUARANTINE = 7


class LogEntry(NamedTuple):
    """Entry to append: a payload of a kind at a position of a partition."""

    partition: PartitionId
    sequence: SequenceNumber
    payload: bytes
    kind: int = RecordKind.BATCH


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One logged entry, still encoded.

    `synced` is how much of its file was known to be durable when it was written. `end` is where it ends in that file.
    """

    partition: PartitionId
    sequence: SequenceNumber
    kind: int
    payload: bytes
    synced: int
    end: int


def encode_file_header() -> bytes:
    """First bytes of a segment."""
    body = _FILE_HEADER.pack(MAGIC, VERSION, 0)[:-4]
    return body + struct.pack("<I", google_crc32c.value(body))


def decode_file_header(data: bytes) -> int | None:
    """Format version of a segment, or None when the bytes are not a complete, undamaged header."""
    if len(data) < FILE_HEADER_BYTES:
        return None
    magic, version, crc = _FILE_HEADER.unpack_from(data)
    intact = magic == MAGIC and crc == google_crc32c.value(data[: FILE_HEADER_BYTES - 4])
    return int(version) if intact else None


def encode_record(
    partition: PartitionId, sequence: SequenceNumber, payload: bytes, kind: int = RecordKind.BATCH, synced: int = 0
) -> bytes:
    """Bytes of one record."""
    header = _RECORD_HEADER.pack(len(payload), 0, partition, kind, _MARK, synced, sequence)
    covered = header[_CRC_END:]
    crc = google_crc32c.extend(google_crc32c.value(covered), payload)
    return header[:4] + struct.pack("<I", crc) + covered + payload


class RecordHeader(NamedTuple):
    """Header of a record, checked only for values that are possible."""

    length: int  # of the payload
    partition: PartitionId
    kind: int
    sequence: SequenceNumber


def decode_header(data: bytes, version: int = VERSION) -> RecordHeader | None:
    """The header that `data` begins with, or None when it cannot be one; the checksum is not checked."""
    if len(data) < RECORD_HEADER_BYTES:
        return None
    length, _, partition, kind, mark, _, sequence = _RECORD_HEADER.unpack_from(data)
    if mark != _MARKS[version] or not 0 < kind < _KINDS_MAX or length > LOG_RECORD_BYTES_MAX:
        return None
    return RecordHeader(length, PartitionId(partition), kind, SequenceNumber(sequence))


def decode_record(
    data: bytes | mmap.mmap,
    offset: int,
    version: int = VERSION,
    held: Mapping[PartitionId, SequenceNumber] = _NOTHING_HELD,
) -> LogRecord | None:
    """The record at `offset`, or None when it is bad (FORMAT.md); without payload up to what is `held` elsewhere."""
    if offset + RECORD_HEADER_BYTES > len(data):
        return None
    length, crc, partition, kind, mark, synced, sequence = _RECORD_HEADER.unpack_from(data, offset)
    end = offset + RECORD_HEADER_BYTES + length
    # Checked before the checksum: a damaged length could otherwise make it read the whole file.
    if mark != _MARKS[version] or not 0 < kind < _KINDS_MAX or length > LOG_RECORD_BYTES_MAX or end > len(data):
        return None
    if crc32c_of(data, offset + _CRC_END, end) != crc:
        return None
    # Checked all the same, but not copied out of the file: most of a start's log is in the snapshot.
    is_held = sequence <= held.get(PartitionId(partition), -1)
    payload = b"" if is_held else data[offset + RECORD_HEADER_BYTES : end]
    return LogRecord(PartitionId(partition), SequenceNumber(sequence), kind, payload, synced, end)


def next_record(data: bytes | mmap.mmap, offset: int, version: int = VERSION) -> int | None:
    """Start of the next good record after `offset`."""
    mark = bytes([_MARKS[version]])
    at = data.find(mark, offset + 1 + _KIND_AT + 1)
    while at >= 0:
        start = at - _KIND_AT - 1
        if 0 < data[at - 1] < _KINDS_MAX and decode_record(data, start, version) is not None:
            return start
        at = data.find(mark, at + 1)
    return None


def synced_behind(data: bytes | mmap.mmap, offset: int, version: int = VERSION) -> int:
    """Bytes of the file that were surely durable, by the good records after the bad one at `offset`.

    Records of version 1 do not state it: there, any good record after `offset` means that it was durable.
    """
    told, at = 0, next_record(data, offset, version)
    while at is not None:
        record = decode_record(data, at, version)
        assert record is not None
        told = max(told, record.synced if version > 1 else offset + 1)
        at = record.end if decode_record(data, record.end, version) else next_record(data, record.end - 1, version)
    return told
