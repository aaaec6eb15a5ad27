"""Room on the disk held back, so that what frees space can still be logged when nothing else can."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cdp_store.limits import LOG_RESERVE_BYTES
from cdp_store.outside.seams import Files

RESERVE_NAME: Final = "reserve"


class Reserve:
    """A file that takes up room until it is needed."""

    def __init__(self, directory: Path, files: Files, size: int = LOG_RESERVE_BYTES) -> None:
        self._path, self._files, self._size = directory / RESERVE_NAME, files, size

    def fill(self) -> bool:
        """Take the room up, if it is there; whether it is held now."""
        if self._path.exists() and self._path.stat().st_size == self._size:
            return True
        try:
            self._files.allocate(self._path, self._size)
        except OSError:  # too little room to hold any back: not having it now is no failure of anything asked for
            self._files.remove(self._path)
            return False
        return True

    def release(self) -> bool:
        """Give the room free; whether there was any."""
        held = self._path.exists() and self._path.stat().st_size > 0
        self._files.remove(self._path)
        return held
