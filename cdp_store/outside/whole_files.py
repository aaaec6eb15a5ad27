"""Small files that exist entirely or not at all."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cdp_store.outside.seams import Files

_SUFFIX: Final = ".tmp"
_NAME_BYTES: Final = 6


class NotDurable(OSError):
    """A file has its new content, and a power loss may restore the old one: its directory could not be synced.

    It never counts as a lack of room, whatever the cause was: something was changed.
    """

    def __init__(self, path: Path, cause: OSError) -> None:
        problem = f"{path} has its new content, which a power loss may take back ({cause.strerror or cause})"
        super().__init__(errno.EIO, problem)
        self.path = path

    def __str__(self) -> str:
        return str(self.strerror)


def write_durably(path: Path, content: bytes, files: Files) -> None:
    """Writes a whole file so that after a crash it exists entirely or not at all.

    Raises OSError if nothing was changed, and NotDurable if the new content is in place.
    """
    # Processes that write the same file at once must not write into each other's.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(_NAME_BYTES)}{_SUFFIX}")
    try:
        file = files.open_append(temporary)
        try:
            file.write(content)
            file.sync()
        finally:
            file.close()
        files.rename(temporary, path)
    except OSError:
        with suppress(OSError):  # the next start removes it
            files.remove(temporary)
        raise
    try:
        files.sync_directory(path.parent)
    except OSError as error:
        raise NotDurable(path, error) from error


def leftovers(directory: Path) -> list[Path]:
    """Files that killed writers left in a directory and below; includes those of running writers, if there are any."""
    return sorted(directory.rglob(f"*{_SUFFIX}")) if directory.exists() else []


def remove_leftovers(paths: Iterable[Path], files: Files) -> None:
    """Removes such files; OSError if that fails."""
    found = list(paths)
    for path in found:
        files.remove(path)
    for folder in sorted({path.parent for path in found}):
        files.sync_directory(folder)
