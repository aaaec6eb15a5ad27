"""Append-only arrays that readers may hold while a writer appends."""

from __future__ import annotations

import mmap
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from cdp_store.limits import HUGE_BYTES_MIN, HUGE_PAGE_BYTES, MAPPED_BYTES_MIN

# Hash tables are read at random: with pages of 4 KiB each read would also miss the cache of page addresses.
_ADVICE: Final[int | None] = getattr(mmap, "MADV_HUGEPAGE", None)

_COUNT_MIN: Final = 64

T = TypeVar("T", bound=np.generic)


def zeroed(count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`count` zeros. A large array is a mapping of its own: room not used yet costs no memory, and all of it goes
    back to the system with the array."""
    wanted = np.dtype(dtype)
    if count * wanted.itemsize < MAPPED_BYTES_MIN:
        return np.zeros(count, wanted)
    region = mmap.mmap(-1, count * wanted.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _ADVICE is not None and len(region) >= HUGE_BYTES_MIN:
        region.madvise(_ADVICE)
    return np.frombuffer(region, wanted, count)


def resident_bytes(array: npt.NDArray[Any], used: int) -> int:
    """Memory that an array of `zeroed` occupies when only its first `used` elements were written."""
    if array.nbytes < MAPPED_BYTES_MIN:
        return array.nbytes
    page = HUGE_PAGE_BYTES if array.nbytes >= HUGE_BYTES_MIN else mmap.PAGESIZE
    return min(array.nbytes, -(-used * array.itemsize // page) * page)


class Growable(Generic[T]):
    """A one-dimensional array with amortised append.

    Elements below `count` never change by appending, and growth allocates a new buffer: a reader that took
    `filled()` keeps a valid, unchanging array.
    """

    __slots__ = ("_buffer", "count")

    def __init__(self, dtype: type[T], capacity: int = _COUNT_MIN) -> None:
        self._buffer: npt.NDArray[T] = zeroed(capacity, dtype)
        self.count = 0

    def reserve(self, extra: int) -> None:
        """Makes room for `extra` more elements."""
        wanted = self.count + extra
        if wanted > self._buffer.shape[0]:
            grown = zeroed(max(wanted, self._buffer.shape[0] * 2), self._buffer.dtype)
            grown[: self.count] = self._buffer[: self.count]
            self._buffer = grown

    def extend(self, values: npt.NDArray[Any]) -> None:
        """Appends `values`, cast to the element type."""
        self.reserve(values.shape[0])
        self._buffer[self.count : self.count + values.shape[0]] = values
        self.count += values.shape[0]

    def copy(self) -> Growable[T]:
        """The same elements in a buffer of its own."""
        other = Growable(self._buffer.dtype.type, self._buffer.shape[0])
        other.extend(self.filled())
        return other

    def emptied(self) -> Growable[T]:
        """An empty array, with room for as many elements as this one has if that costs nothing until it is used."""
        is_free = self.count * self._buffer.itemsize >= MAPPED_BYTES_MIN
        return Growable(self._buffer.dtype.type, self.count if is_free else _COUNT_MIN)

    @property
    def buffer(self) -> npt.NDArray[T]:
        """The whole buffer, unused room included; kernels that append write here and then set `count`."""
        return self._buffer

    def filled(self) -> npt.NDArray[T]:
        """The elements so far, without copying."""
        return self._buffer[: self.count]

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return resident_bytes(self._buffer, self.count)
