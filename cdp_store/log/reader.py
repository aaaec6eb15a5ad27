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


def read_header(path: Path) -> int | None:
    """Format version of a segment; None when the file ends before or with a header that was never finished.

    Raises LogCorrupt when there is more behind a damaged header.
    """
    with path.open("rb") as file:
        head = file.read(FILE_HEADER_BYTES + 1)
    version = decode_file_header(head)
    if version is None and len(head) > FILE_HEADER_BYTES:
        raise LogCorrupt(path, 0, "the file header is damaged")
    return version


def read_segment(path: Path, *, last: bool) -> Iterator[LogRecord]:
    """Records of one segment in order; a torn tail, possible only in the last segment, ends the iteration.

    Raises LogCorrupt for damage before the tail and LogUnsupported for a newer format.
    """
    version = read_header(path)
    if version is None:
        raise LogCorrupt(path, 0, "the file header is damaged")
    if version > VERSION:
        raise LogUnsupported(path, version, VERSION)
    data = path.read_bytes()
    view, offset = memoryview(data), FILE_HEADER_BYTES
    while offset < len(view):
        record = decode_record(view, offset)
        if record is None:
            if not last or good_record_follows(view, offset):
                raise LogCorrupt(path, offset, "a record does not fit its checksum, and good records follow it")
            return
        yield record
        offset = record.end
