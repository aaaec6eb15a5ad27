"""Members counted by the value of an attribute, where its values are narrow integers."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.compiled.kernels.addresses import u8s, u16s
from cdp_query.compiled.kernels.layout import COLUMN_COUNT, COLUMN_DTYPE, COLUMN_PRESENT, COLUMN_VALUES, U8_VALUES
from cdp_store.arrays import I64, U8, U32, AnyArray
from cdp_store.kernels.jit import kernel, leaf

# Where a column's members are, and where they are counted.
COUNTED_MEMBERS: Final = 0  # address of bool[rows]
COUNTED_ROWS: Final = 1
COUNTED_FIRST: Final = 2  # the place of the value 0 among the sizes
COUNTED_FIELDS: Final = 3


@kernel
def count_values(columns: I64, counted: I64, chosen: U32, sizes: I64) -> None:
    """sizes[first + v] += the members with the stored value v, for each of some columns of u8 or u16.

    columns i64[n, COLUMN_FIELDS], counted i64[n, COUNTED_FIELDS]. `chosen` u32 is working memory: members are listed in
    it, as many rows at once as it is long.
    """
    for number in range(columns.shape[0]):
        column, own = columns[number], counted[number]
        members = u8s(own[COUNTED_MEMBERS], own[COUNTED_ROWS])
        present = u8s(column[COLUMN_PRESENT], (column[COLUMN_COUNT] + 7) >> 3 if column[COLUMN_PRESENT] != 0 else 0)
        found = sizes[own[COUNTED_FIRST] :]
        if column[COLUMN_DTYPE] == U8_VALUES:
            _count(u8s(column[COLUMN_VALUES], members.shape[0]), present, members, chosen, found)
        else:
            _count(u16s(column[COLUMN_VALUES], members.shape[0]), present, members, chosen, found)


@leaf
def _count(values: AnyArray, present: U8, members: U8, chosen: U32, sizes: I64) -> None:
    every = present.shape[0] == 0
    for start in range(0, members.shape[0], chosen.shape[0]):
        found = np.uint64(0)
        # Listed first, without a branch for each: which rows are members cannot be predicted.
        for row in range(np.uint64(start), np.uint64(min(start + chosen.shape[0], members.shape[0]))):
            chosen[found] = np.uint32(row)
            found += np.uint64(members[row])
        for number in range(found):
            at = np.uint64(chosen[number])
            if every or (present[at >> np.uint64(3)] >> np.uint8(at & np.uint64(7))) & np.uint8(1):
                sizes[np.uint64(values[at])] += 1
