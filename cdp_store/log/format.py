"""Constants and byte layout of log segments; FORMAT.md is the description."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import google_crc32c

from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import LOG_RECORD_BYTES_MAX

MAGIC: Final = b"CDPLOG\r\n"
VERSION: Final = 1
KIND_BATCH: Final = 1
SEGMENT_SUFFIX: Final = ".cdplog"

_FILE_HEADER: Final = struct.Struct("<8sII")
_RECORD_HEADER: Final = struct.Struct("<IIHBBIQ")
_CRC_END: Final = 8  # the checksum covers what follows length and crc
_FIXED: Final = bytes([KIND_BATCH, 0, 0, 0, 0, 0])  # kind and zero fields, as they stand in every record
_FIXED_AT: Final = 10
FILE_HEADER_BYTES: Final = _FILE_HEADER.size
RECORD_HEADER_BYTES: Final = _RECORD_HEADER.size


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One logged batch, still encoded, and where it ends in its file."""

    partition: PartitionId
    sequence: SequenceNumber
    payload: bytes
    end: int


def encode_file_header() -> bytes:
    """First bytes of a segment."""
    body = _FILE_HEADER.pack(MAGIC, VERSION, 0)[:-4]
    return body + struct.pack("<I", google_crc32c.value(body))


def decode_file_header(data: bytes) -> int | None:
    """Format version of a segment, or None when the bytes are no whole, undamaged header."""
    if len(data) < FILE_HEADER_BYTES:
        return None
    magic, version, crc = _FILE_HEADER.unpack_from(data)
    intact = magic == MAGIC and crc == google_crc32c.value(data[: FILE_HEADER_BYTES - 4])
    return int(version) if intact else None


def encode_record(partition: PartitionId, sequence: SequenceNumber, payload: bytes) -> bytes:
    """Bytes of one record."""
    header = _RECORD_HEADER.pack(len(payload), 0, partition, KIND_BATCH, 0, 0, sequence)
    covered = header[_CRC_END:]
    crc = google_crc32c.extend(google_crc32c.value(covered), payload)
    return header[:4] + struct.pack("<I", crc) + covered + payload


def decode_record(data: memoryview, offset: int) -> LogRecord | None:
    """The record at `offset`, or None when it is bad (FORMAT.md)."""
    if offset + RECORD_HEADER_BYTES > len(data):
        return None
    length, crc, partition, kind, *_, sequence = _RECORD_HEADER.unpack_from(data, offset)
    end = offset + RECORD_HEADER_BYTES + length
    if kind != KIND_BATCH or length > LOG_RECORD_BYTES_MAX or end > len(data):
        return None
    if google_crc32c.value(bytes(data[offset + _CRC_END : end])) != crc:
        return None
    payload = bytes(data[offset + RECORD_HEADER_BYTES : end])
    return LogRecord(PartitionId(partition), SequenceNumber(sequence), payload, end)


def good_record_follows(data: memoryview, offset: int) -> bool:
    """Whether any good record starts after `offset`."""
    whole = data.obj
    assert isinstance(whole, bytes)
    at = whole.find(_FIXED, offset + 1 + _FIXED_AT)
    while at >= 0:
        if decode_record(data, at - _FIXED_AT) is not None:
            return True
        at = whole.find(_FIXED, at + 1)
    return False
