"""Append-only arrays that readers may hold while a writer appends."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)


class Growable(Generic[T]):
    """A one-dimensional array with amortised append.

    Elements below `count` never change by appending, and growth allocates a new buffer: a reader that took
    `filled()` keeps a valid, unchanging array.
    """

    __slots__ = ("_buffer", "count")

    def __init__(self, dtype: type[T], capacity: int = 64) -> None:
        self._buffer: npt.NDArray[T] = np.zeros(capacity, dtype)
        self.count = 0

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more elements."""
        wanted = self.count + extra
        if wanted > self._buffer.shape[0]:
            grown = np.zeros(max(wanted, self._buffer.shape[0] * 2), self._buffer.dtype)
            grown[: self.count] = self._buffer[: self.count]
            self._buffer = grown

    def extend(self, values: npt.NDArray[Any]) -> None:
        """Append `values`, cast to the element type."""
        self.reserve(values.shape[0])
        self._buffer[self.count : self.count + values.shape[0]] = values
        self.count += values.shape[0]

    @property
    def buffer(self) -> npt.NDArray[T]:
        """The whole buffer, unused room included; kernels that append write here and then set `count`."""
        return self._buffer

    def filled(self) -> npt.NDArray[T]:
        """The elements so far, without copying."""
        return self._buffer[: self.count]

    @property
    def nbytes(self) -> int:
        return self._buffer.nbytes
