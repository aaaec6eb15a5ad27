"""Durable position of the log, in a small file of two slots written in turn; FORMAT.md describes the bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c

from cdp_store.errors import LogCorrupt, LogUnsupported
from cdp_store.outside.seams import Files, UpdateFile
from cdp_store.outside.whole_files import write_durably

POSITION_NAME: Final = "position"
_MAGIC: Final = b"CDPPOS\r\n"
_VERSION: Final = 1
_SLOT: Final = struct.Struct("<8sIQQQ")
_SLOT_BYTES: Final = 4096  # a page of its own: a torn write of one slot leaves the other alone


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Position before which everything is durable: `offset` of segment `segment`; segment 0 stands for nothing."""

    segment: int = 0
    offset: int = 0


def encode_slot(generation: int, position: Position) -> bytes:
    """Bytes of one slot, without padding."""
    body = _SLOT.pack(_MAGIC, _VERSION, generation, position.segment, position.offset)
    return body + struct.pack("<I", google_crc32c.value(body))


def decode_slot(data: bytes) -> tuple[int, int, Position] | None:
    """(format version, generation, position) of a slot, or None when it is damaged."""
    if len(data) < _SLOT.size + 4:
        return None
    magic, version, generation, segment, offset = _SLOT.unpack_from(data)
    (crc,) = struct.unpack_from("<I", data, _SLOT.size)
    if magic != _MAGIC or crc != google_crc32c.value(data[: _SLOT.size]):
        return None
    return version, generation, Position(segment, offset)


def read_position(directory: Path) -> tuple[int, Position] | None:
    """(generation, position) of the newer good slot; None when there is no such file.

    Raises LogCorrupt when neither slot is good and LogUnsupported for a newer format.
    """
    path = directory / POSITION_NAME
    if not path.exists():
        return None
    data = path.read_bytes()
    slots = [slot for at in (0, _SLOT_BYTES) if (slot := decode_slot(data[at : at + _SLOT_BYTES])) is not None]
    if not slots:
        raise LogCorrupt(path, 0, "neither of its two slots fits its checksum")
    version, generation, position = max(slots, key=lambda slot: slot[1])
    if version > _VERSION:
        raise LogUnsupported(path, version, _VERSION)
    return generation, position


def reset_position(directory: Path, position: Position, files: Files) -> None:
    """Rebuilds the file with the same position in both slots."""
    slots = (encode_slot(generation, position) for generation in (0, 1))
    content = b"".join(slot.ljust(_SLOT_BYTES, b"\0") for slot in slots)
    write_durably(directory / POSITION_NAME, content, files)


class PositionFile:
    """Writes the position. `sync` may run in another thread than `write`."""

    def __init__(self, directory: Path, files: Files) -> None:
        found = read_position(directory)
        assert found is not None, "reset_position makes the file"
        self._generation, self.position = found
        self._synced_generation = self._generation
        self._file: UpdateFile = files.open_update(directory / POSITION_NAME)

    def write(self, position: Position) -> None:
        """Writes a newer position into the older slot; it survives the process, and after `sync` the machine."""
        generation = self._generation + 1
        # In turn: whatever a torn write does to this slot, the other one holds the previous position.
        self._file.write_at(generation % 2 * _SLOT_BYTES, encode_slot(generation, position))
        self._generation, self.position = generation, position

    def sync(self) -> None:
        """Makes the last written position durable."""
        # Read once, before the sync: a position written meanwhile may not be covered, and counts for the next sync.
        generation = self._generation
        if generation != self._synced_generation:
            self._file.sync()
            self._synced_generation = generation

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
