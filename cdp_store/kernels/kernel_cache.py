"""Directory of compiled kernels, and a stamp that shows stale ones; loads no compiler, so that asking is quick."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

CACHE_ENV = "CDP_CACHE_DIR"
_STORE_KERNELS = Path(__file__).parent


def cache_directory() -> Path:
    """Directory of compiled kernels: $CDP_CACHE_DIR, else `cdp/kernels` in the user's cache directory."""
    if override := os.environ.get(CACHE_ENV):
        return Path(override)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cdp" / "kernels"


@functools.cache
def content_stamp(folder: Path) -> str:
    """Hash that changes with any kernel that one of a folder may call, and with the versions of numba and Python.

    It may call those of its folder, of the store, and of the room `kernels` beside its own room.
    """
    digest = hashlib.sha256(f"{version('numba')} {platform.python_version()}".encode())
    # A kernel inlines the kernels it calls, so its cache is stale when any file it may call into changes.
    beside = folder.parents[1] / "kernels"
    for source in sorted({*folder.glob("*.py"), *beside.glob("*.py"), *_STORE_KERNELS.glob("*.py")}):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:24]
