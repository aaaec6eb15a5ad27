"""The one way kernels are compiled: no GIL, cached per user and by content.

Numba keys its cache by the path of the source file, so that each clone would compile again. The
locator below keys it by the content of all kernel files a kernel may call, under the user's cache directory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import caching, config

from cdp_store.kernels.kernel_cache import cache_directory, content_stamp

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE_ROOT = Path(__file__).parents[2]


class KernelCacheLocator(caching._CacheLocator):
    """Places compiled kernels by the content of their sources, whatever folder the sources lie in."""

    def __init__(self, path: str, stamp: str, line: int) -> None:
        self._path, self._stamp, self._line = path, stamp, line

    def get_cache_path(self) -> str:
        return self._path

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        # As numba's own locators do: kernels of one name in one module would overwrite each other's files.
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> KernelCacheLocator | None:
        found = _place(Path(py_file).parent)
        return None if found is None else cls(*found, py_func.__code__.co_firstlineno)


@functools.cache  # a process starts with hundreds of kernels in a few folders, and a check writes a file
def _place(folder: Path) -> tuple[str, str] | None:
    """(directory, stamp) of the compiled kernels of a folder; None if ours are not to be kept there."""
    source = folder.resolve()
    if not source.is_relative_to(_PACKAGE_ROOT):
        return None
    stamp = content_stamp(source)
    path = str(cache_directory() / f"{source.parent.name}-{stamp}")
    try:
        # A cache that cannot be written is no failure: numba asks the next locator.
        KernelCacheLocator(path, stamp, 0).ensure_cache_path()  # type: ignore[no-untyped-call]
    except OSError:
        return None
    return path, stamp


_OURS = f"{KernelCacheLocator.__module__}.{KernelCacheLocator.__qualname__}"
# Ours first; the others are for kernels of other packages, which ours leaves alone.
vars(config)["CACHE_LOCATOR_CLASSES"] = f"{_OURS},UserProvidedCacheLocator,UserWideCacheLocator,InTreeCacheLocator"


def kernel(function: F) -> F:
    """Compile `function` on first use, without the GIL, cached on disk."""
    return cast(F, numba.njit(nogil=True, cache=True)(function))


def leaf(function: F) -> F:
    """Compile a kernel that other kernels call for each row or text: without reference counts of its arrays.

    These cost more than a short kernel does. It may allocate no array (numba refuses that) and return none.
    """
    options: dict[str, Any] = {"nogil": True, "cache": True, "_nrt": False}  # numba's types do not know the last one
    return cast(F, numba.njit(**options)(function))


def inlined(function: F) -> F:
    """A part of a kernel, written apart for reading: compiled into its callers, so arrays cost no reference count."""
    return cast(F, numba.njit(inline="always")(function))
