"""Sizes of the dead letters of a source: the bytes that each file must have, and their checksum, to notice losses.

`head` records them for the current file; it is written in place after every letter was synced. `index.json` records
them for the files that were set aside. Both have a checksum of the bytes, to recognise an earlier version of a file. A
file that is not listed is from a crash between two steps, and counts as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c
import msgspec

from cdp_store.errors import DirectoryDamaged
from cdp_store.log.local import NO_ROOM
from cdp_store.outside.sealed import read_sealed, seal_json
from cdp_store.outside.seams import OsFiles
from cdp_store.outside.whole_files import write_durably

CURRENT: Final = "current.ndjson"
_HEAD: Final = "head"
_INDEX: Final = "index.json"
_LINE: Final = re.compile(rb"((\d{20})(?: ([0-9a-f]{8}))?) ([0-9a-f]{8})\n")
_PIECE_BYTES: Final = 1 << 20


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: dict[str, int]
    checksums: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Head:
    """Bytes of the current file whose letters were acknowledged, and their checksum; "" if it is unknown."""

    size: int = 0
    checksum: str = ""


def acknowledge(directory: Path, size: int, lines: bytes = b"") -> None:
    """Records how many bytes of the current file were acknowledged; `lines` are the last of them."""
    before, start = read_head(directory), size - len(lines)
    known = before.checksum if before.size == start else ""
    checksum = _extended(known, lines) if known or not start else _checksum(directory / CURRENT, size)
    text = f"{size:020d} {checksum}".encode()
    descriptor = os.open(directory / _HEAD, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, b"%s %08x\n" % (text, google_crc32c.value(text)), 0)
    finally:
        os.close(descriptor)


def read_head(directory: Path) -> Head:
    """Bytes of the current file that were acknowledged; nothing if they are unknown."""
    path = directory / _HEAD
    found = _LINE.fullmatch(path.read_bytes()) if path.exists() else None
    if not found or google_crc32c.value(found[1]) != int(found[4], 16):
        return Head()
    return Head(int(found[2]), (found[3] or b"").decode())


def acknowledged(directory: Path) -> int:
    """Bytes that the current file must have, 0 if they are unknown."""
    return read_head(directory).size


def listed(directory: Path) -> Mapping[str, int]:
    """Bytes of the files that were set aside, by name; none if the list cannot be read."""
    return _index(directory).bytes


def list_sizes(directory: Path, sizes: Mapping[str, int]) -> None:
    """Replaces the list, durably; writes nothing if it is the same.

    On a full disk there is no list until the next change: erasures must not fail for it.
    """
    before = _index(directory)
    known = {name: text for name, text in before.checksums.items() if before.bytes.get(name) == sizes.get(name)}
    checksums = {name: known.get(name) or _checksum(directory / name, size) for name, size in sizes.items()}
    after = _Stored(dict(sizes), checksums)
    if after == before:
        return
    try:
        write_durably(directory / _INDEX, seal_json(after), OsFiles())
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        (directory / _INDEX).unlink(missing_ok=True)


def lost(directory: Path) -> list[str]:
    """Problems of a source's letters in words: missing or changed files; for the only user of its files."""
    index, found = _index(directory), list[str]()
    for name, size in index.bytes.items():
        path, checksum = directory / name, index.checksums.get(name, "")
        is_changed = checksum and (_size(path), _checksum(path, size)) != (size, checksum)
        found += _shortage(path, size) or ([_changed(path)] if is_changed else [])
    return found + (lost_of_current(directory) or _change_of_current(directory))


def _change_of_current(directory: Path) -> list[str]:
    head, path = read_head(directory), directory / CURRENT
    if not head.checksum or not head.size or _checksum(path, head.size) == head.checksum:
        return []
    # A crash may have come between the file's new name and the record that the current one is empty.
    is_renamed = any(_checksum(other, head.size) == head.checksum for other in directory.glob("*.ndjson"))
    return [] if is_renamed or read_head(directory) != head else [_changed(path)]


def _changed(path: Path) -> str:
    return (
        f"{path} was changed: its records differ from those that were kept; restore its newest version, or redrive the "
        "records that it has now"
    )


def _index(directory: Path) -> _Stored:
    path = directory / _INDEX
    try:
        return read_sealed(path, _Stored).value if path.exists() else _Stored({})
    except DirectoryDamaged:
        return _Stored({})


def _checksum(path: Path, size: int) -> str:
    """CRC32C of the first bytes of a file, as eight hexadecimal digits."""
    found = 0
    try:
        with path.open("rb") as file:
            while size and (piece := file.read(min(size, _PIECE_BYTES))):
                found, size = google_crc32c.extend(found, piece), size - len(piece)
    except FileNotFoundError:  # a redrive has just removed it
        return ""
    return f"{found:08x}"


def _extended(checksum: str, lines: bytes) -> str:
    return f"{google_crc32c.extend(int(checksum or '0', 16), lines):08x}"


def lost_of_current(directory: Path) -> list[str]:
    """Problems of the current file, in words; for callers that hold its lock. Other files may be removed meanwhile."""
    wanted = acknowledged(directory)
    found = _shortage(directory / CURRENT, wanted)
    known = {CURRENT, *listed(directory)} if found else set()
    renamed = (_size(path) for path in directory.glob("*.ndjson") if path.name not in known)
    # A crash may have come between the file's new name and the record that the current one is empty.
    return [] if found and any(size >= wanted for size in renamed) else found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a redrive has just removed it
        return -1


def _shortage(path: Path, wanted: int) -> list[str]:
    if not path.exists():
        return [f"{path} is missing; it had {wanted} bytes of records"] if wanted else []
    size = path.stat().st_size
    if size < wanted:
        return [f"{path} was cut: it has {size} of {wanted} bytes of records"]
    with path.open("rb") as file:
        file.seek(max(wanted - 1, 0))
        is_ended = not wanted or file.read(1) == b"\n"
    return [] if is_ended else [f"{path} was changed: its record before byte {wanted} has no end"]
