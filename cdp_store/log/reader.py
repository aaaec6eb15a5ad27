"""Reading a shard's log back, segment by segment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cdp_store.errors import LogCorrupt, LogUnsupported
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    SEGMENT_SUFFIX,
    VERSION,
    LogRecord,
    decode_file_header,
    decode_record,
    good_record_follows,
)


def segments(directory: Path) -> list[Path]:
    """Segment files, oldest first."""
    return sorted(directory.glob(f"*{SEGMENT_SUFFIX}"))


def read_segment(path: Path, *, last: bool) -> Iterator[LogRecord]:
    """Records of one segment in order; a torn tail, possible only in the last segment, ends the iteration.

    Raises LogCorrupt for damage before the tail and LogUnsupported for a newer format.
    """
    data = path.read_bytes()
    version = decode_file_header(data)
    if version is None:
        if last and len(data) <= FILE_HEADER_BYTES:
            return
        raise LogCorrupt(path, 0, "the file header is damaged")
    if version > VERSION:
        raise LogUnsupported(path, version, VERSION)
    view, offset = memoryview(data), FILE_HEADER_BYTES
    while offset < len(view):
        record = decode_record(view, offset)
        if record is None:
            if not last or good_record_follows(view, offset):
                raise LogCorrupt(path, offset, "a record does not fit its checksum, and good records follow it")
            return
        yield record
        offset = record.end
