"""Dense columns over rows, in morsel-aligned blocks that are copied before a change when a reader holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, U16, U32, AnyArray
from cdp_store.limits import BLOCK_ROWS_MIN, MORSEL_BITS, MORSEL_ROWS

Blocks = tuple[AnyArray | None, ...]
_SIGNED: Final = (np.int8, np.int16, np.int32, np.int64)
_UNSIGNED: Final = (np.uint8, np.uint16, np.uint32)
_ROW_IN_MORSEL: Final = np.uint32(MORSEL_ROWS - 1)


def by_morsel(rows: U32) -> Iterator[tuple[int, U16, npt.NDArray[np.intp]]]:
    """(morsel, rows inside it u16, positions in `rows`) for each morsel touched, positions ascending."""
    if rows.shape[0] == 0:
        return
    morsels = rows >> np.uint32(MORSEL_BITS)
    local = (rows & _ROW_IN_MORSEL).astype(np.uint16)
    low, high = int(morsels.min()), int(morsels.max())
    if low == high:
        yield low, local, np.arange(rows.shape[0])
        return
    for morsel in range(low, high + 1):
        where = np.flatnonzero(morsels == morsel)
        if where.size:
            yield morsel, local[where], where


class BlockColumn:
    """One value per row. A block never written is None and stands for `fill`."""

    def __init__(self, dtype: npt.DTypeLike, fill: int) -> None:
        self._dtype = np.dtype(dtype)
        self._fill = fill
        self._blocks = list[AnyArray | None]()
        self._shared = list[bool]()

    def capture(self) -> Blocks:
        """The blocks as they stand; later writes leave them alone."""
        self._shared = [True] * len(self._blocks)
        return tuple(self._blocks)

    def writable(self, morsel: int, rows: int, dtype: npt.DTypeLike | None = None) -> AnyArray:
        """Block `morsel` with room for `rows` rows and, if given, for the values of `dtype`; writes go into it."""
        while len(self._blocks) <= morsel:
            self._blocks.append(None)
            self._shared.append(False)
        block = self._blocks[morsel]
        own = self._dtype if block is None else block.dtype
        wanted = own if dtype is None else np.promote_types(own, dtype)
        if block is None or block.shape[0] < rows or block.dtype != wanted:
            size = max(BLOCK_ROWS_MIN, 1 << (rows - 1).bit_length(), 0 if block is None else block.shape[0])
            grown = np.full(size, self._fill, wanted)
            if block is not None:
                grown[: block.shape[0]] = block
        elif self._shared[morsel]:
            grown = block.copy()
        else:
            return block
        self._blocks[morsel], self._shared[morsel] = grown, False
        return grown

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self._blocks if block is not None)


def join_blocks(blocks: Blocks, rows: int, fill: int, dtype: npt.DTypeLike) -> AnyArray:
    """The column as one array of `rows` values (a copy)."""
    out = np.full(rows, fill, dtype)
    for morsel, block in enumerate(blocks):
        start = morsel << MORSEL_BITS
        if block is not None and start < rows:
            part = block[: rows - start]
            out[start : start + part.shape[0]] = part
    return out


def smallest_integer_dtype(values: I64, *, signed: bool = True) -> np.dtype[Any]:
    """The narrowest integer dtype of that signedness that holds every value.

    One signedness per column, because numpy widens a mixture of both at 64 bits to float64.
    """
    low, high = int(values.min()), int(values.max())
    for dtype in _SIGNED if signed else _UNSIGNED:
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return np.dtype(dtype)
    return np.dtype(np.int64)
