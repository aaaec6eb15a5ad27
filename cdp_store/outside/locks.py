"""Locks between processes, of a folder or of a file: one process holds each, and its end frees it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CREATED: Final = os.O_RDWR | os.O_CREAT
_MODE: Final = 0o600


def try_file_lock(path: Path) -> int | None:
    """Descriptor that holds the lock of a file until it is closed, None if another one holds it.

    The file is created if it is missing.
    """
    descriptor = os.open(path, _CREATED, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def file_locked(path: Path, flags: int = _CREATED) -> Iterator[int]:
    """Holds the lock of a file, waiting until it is free; yields its descriptor. Not reentrant."""
    descriptor = os.open(path, flags, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Holds the lock of an existing folder, waiting until it is free. Not reentrant."""
    with file_locked(folder, os.O_RDONLY | os.O_DIRECTORY):
        yield
