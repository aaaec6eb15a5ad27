"""How many bytes of dead letters each file of a source must have, so that those that are gone are missed.

`head` says it of the current file; it is written in place after every letter was synced. `index.json` says it of the
files that were set aside. What is not listed is from a crash between two steps, and counts as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import google_crc32c
import msgspec

from cdp_store.errors import DirectoryDamaged
from cdp_store.log.local import NO_ROOM
from cdp_store.sealed import read_whole, seal_json, unseal_json
from cdp_store.seams import OsFiles
from cdp_store.whole_files import write_durably

CURRENT: Final = "current.ndjson"
_HEAD: Final = "head"
_INDEX: Final = "index.json"
_LINE: Final = re.compile(rb"(\d{20}) ([0-9a-f]{8})\n")


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: dict[str, int]


def acknowledge(directory: Path, size: int) -> None:
    """Note that the current file has so many bytes whose letters were answered for."""
    text = f"{size:020d}".encode()
    descriptor = os.open(directory / _HEAD, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, b"%s %08x\n" % (text, google_crc32c.value(text)), 0)
    finally:
        os.close(descriptor)


def acknowledged(directory: Path) -> int:
    """Bytes that the current file must have, 0 where that is not known."""
    path = directory / _HEAD
    found = _LINE.fullmatch(path.read_bytes()) if path.exists() else None
    return int(found[1]) if found and google_crc32c.value(found[1]) == int(found[2], 16) else 0


def listed(directory: Path) -> Mapping[str, int]:
    """Bytes of the files that were set aside, by name; none where the list cannot be read."""
    path = directory / _INDEX
    try:
        return unseal_json(path, read_whole(path), _Stored).value.bytes if path.exists() else {}
    except DirectoryDamaged:
        return {}


def list_sizes(directory: Path, sizes: Mapping[str, int]) -> None:
    """Replace the list, durably; nothing is written where it says this already.

    On a full disk there is no list until the next change: erasures must not fail for it.
    """
    if sizes == listed(directory):
        return
    try:
        write_durably(directory / _INDEX, seal_json(_Stored(dict(sizes))), OsFiles())
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        (directory / _INDEX).unlink(missing_ok=True)


def lost(directory: Path) -> list[str]:
    """What is missing of a source's letters, in words; for those who alone handle its files."""
    found = [problem for name, size in listed(directory).items() for problem in _shortage(directory / name, size)]
    return found + lost_of_current(directory)


def lost_of_current(directory: Path) -> list[str]:
    """What is missing of the file that gets new letters, in words; for those who hold its lock. Others may go."""
    wanted = acknowledged(directory)
    found = _shortage(directory / CURRENT, wanted)
    known = {CURRENT, *listed(directory)} if found else set()
    renamed = (_size(path) for path in directory.glob("*.ndjson") if path.name not in known)
    # A crash may have come between the file's new name and the note that the current one begins anew.
    return [] if found and any(size >= wanted for size in renamed) else found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a redrive has just finished with it
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
