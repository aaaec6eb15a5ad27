"""Small files that are there entirely or not at all."""

from __future__ import annotations

from pathlib import Path

from cdp_store.seams import Files


def write_durably(path: Path, content: bytes, files: Files) -> None:
    """Write a whole file so that after a crash it is there entirely or not at all."""
    temporary = path.with_suffix(".tmp")
    file = files.open_append(temporary)
    try:
        file.truncate(0)
        file.write(content)
        file.sync()
    finally:
        file.close()
    files.rename(temporary, path)
    files.sync_directory(path.parent)
