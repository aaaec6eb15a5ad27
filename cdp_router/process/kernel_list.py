"""List of the compiled kernels that the warm-up needs, kept beside the cache: a start loads these without running it.

The list is a file with the signatures of each kernel, under a checksum. Its name changes with the kernels and with the
warm-up. A start without a usable list runs the warm-up; if that compiled nothing, it writes the list.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import cdp_router
from cdp_store.kernels.kernel_cache import cache_directory, content_stamp

_ROOMS: Final = ("kernels", "compiled/kernels", "reports")
_DIGEST_BYTES: Final = 32


def warm_mark() -> Path:
    """A file that exists once these kernels have been compiled for all signatures of the warm-up."""
    asked = hashlib.sha256((Path(cdp_router.__file__).parent / "process" / "warm_up.py").read_bytes()).hexdigest()[:12]
    # By path: the client loads no engine. Reports say themselves what warms their kernels.
    stamps = (content_stamp(Path(cdp_router.__file__).parents[1] / "cdp_query" / room) for room in _ROOMS)
    return cache_directory() / f"warm-{'-'.join(stamps)}-{asked}"


def load_or_run(warm_up: Callable[[], None]) -> None:
    """Loads the listed kernels; without a usable list it runs the warm-up and lists what that loaded."""
    if load_listed():
        return
    warm_up()
    with suppress(OSError):  # as for the cache itself: one that cannot be written is no failure
        keep_list()


def load_listed() -> bool:
    """Loads every listed signature from the cache, compiling those it lacks; False without a usable list."""
    try:
        sealed = _list_path().read_bytes()
    except OSError:
        return False
    digest, packed = sealed[:_DIGEST_BYTES], sealed[_DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != digest:
        return False
    # Signatures are objects of the compiler, which pickles them into files of the same directory itself.
    for module, name, signatures in pickle.loads(packed):
        kernel = getattr(import_module(module), name)
        for signature in signatures:
            kernel.compile(signature)
    return True


def keep_list() -> None:
    """Writes the list of what this process has loaded; nothing if it has compiled any kernel.

    Whatever a compiled kernel calls was compiled for it as well, and needs no loading.
    """
    loaded = _loaded()
    if any(kernel.stats.cache_misses for _, _, kernel in loaded):
        return
    packed = pickle.dumps([(module, name, kernel.signatures) for module, name, kernel in loaded])
    path = _list_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}-{os.getpid()}")
    unfinished.write_bytes(hashlib.sha256(packed).digest() + packed)
    unfinished.replace(path)


def _list_path() -> Path:
    return Path(f"{warm_mark()}.list")


def _loaded() -> list[tuple[str, str, Any]]:
    """(module, name, kernel) of our kernels that have a signature."""
    found = list[tuple[str, str, Any]]()
    for module in sorted(name for name in sys.modules if name.startswith(("cdp_store.", "cdp_query."))):
        for name, value in vars(sys.modules[module]).items():
            own = getattr(value, "py_func", None)
            if own is not None and own.__module__ == module and value.signatures:
                found.append((module, name, value))
    return found
