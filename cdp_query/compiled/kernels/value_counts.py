"""Members counted by the value of an attribute, where its values are narrow integers."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import u8s, u16s
from cdp_query.compiled.kernels.layout import COLUMN_COUNT, COLUMN_DTYPE, COLUMN_PRESENT, COLUMN_VALUES, U8_VALUES
from cdp_store.arrays import I64, U8, U32, AnyArray
from cdp_store.kernels.jit import kernel, leaf


@kernel
def count_values(column: I64, members: U8, chosen: U32, sizes: I64) -> None:
    """sizes[v] += the members with the stored value v, of a column of u8 or u16 with as many entries at least.

    `chosen` u32 is working memory: members are listed in it, as many rows at once as it is long.
    """
    present = u8s(column[COLUMN_PRESENT], (column[COLUMN_COUNT] + 7) >> 3 if column[COLUMN_PRESENT] != 0 else 0)
    if column[COLUMN_DTYPE] == U8_VALUES:
        _count(u8s(column[COLUMN_VALUES], members.shape[0]), present, members, chosen, sizes)
    else:
        _count(u16s(column[COLUMN_VALUES], members.shape[0]), present, members, chosen, sizes)


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
