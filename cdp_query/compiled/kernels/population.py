"""Profiles that existed at an instant, by the times when they were created."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s
from cdp_query.compiled.kernels.layout import SINCE_FIELDS
from cdp_query.compiled.kernels.values import mark_holding
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import kernel
from cdp_store.limits import MORSEL_ROWS

# The rows of one partition: addresses of i64[morsels, SINCE_FIELDS], since when its profiles exist, and of i64[n] rows
# that are left out.
ROWS_MORSELS: Final = 0
ROWS_HIDDEN: Final = 1
ROWS_HIDDEN_COUNT: Final = 2
ROWS_COUNT: Final = 3
ROWS_FIELDS: Final = 4


@kernel
def mark_created(partitions: I64, instant_ms: int, scratch: U8, mask: U8) -> None:
    """mask[row] = the row's profile was created up to an instant, for the rows of all partitions, one after the other.

    `partitions` i64[n, ROWS_FIELDS], scratch u8[MORSEL_ROWS]; a byte a row written, and the columns of times read.
    """
    first = 0
    for number in range(partitions.shape[0]):
        rows = partitions[number]
        own = mask[first : first + rows[ROWS_COUNT]]
        for morsel in range((own.shape[0] + MORSEL_ROWS - 1) // MORSEL_ROWS):
            since = i64s(rows[ROWS_MORSELS] + 8 * SINCE_FIELDS * morsel, SINCE_FIELDS)
            start = morsel * MORSEL_ROWS
            mark_holding(since, instant_ms, scratch, own[start : min(start + MORSEL_ROWS, own.shape[0])])
        hidden = i64s(rows[ROWS_HIDDEN], rows[ROWS_HIDDEN_COUNT])
        for i in range(hidden.shape[0]):
            own[hidden[i]] = np.uint8(0)
        first += rows[ROWS_COUNT]
