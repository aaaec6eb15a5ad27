"""Space on the disk held in reserve, so that what frees space can still be logged on a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cdp_store.limits import LOG_RESERVE_BYTES
from cdp_store.outside.seams import Files

RESERVE_NAME: Final = "reserve"


class Reserve:
    """A file that occupies space until it is needed."""

    def __init__(self, directory: Path, files: Files, size: int = LOG_RESERVE_BYTES) -> None:
        self._path, self._files, self._size = directory / RESERVE_NAME, files, size

    def fill(self) -> bool:
        """Reserves the space, if it is free; True if it is reserved now."""
        if self._path.exists() and self._path.stat().st_size == self._size:
            return True
        try:
            self._files.allocate(self._path, self._size)
        except OSError:  # too little room to hold any back: not having it now is no failure of anything asked for
            self._files.remove(self._path)
            return False
        return True

    def release(self) -> bool:
        """Releases the space; True if there was any."""
        held = self._path.exists() and self._path.stat().st_size > 0
        self._files.remove(self._path)
        return held
