"""Rows of a partition by morsel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import U16, U32
from cdp_store.limits import MORSEL_BITS, MORSEL_ROWS

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
