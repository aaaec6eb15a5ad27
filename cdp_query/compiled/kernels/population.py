"""Profiles that existed at an instant, by the times when they were created."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s
from cdp_query.compiled.kernels.layout import COLUMN_FIELDS, COLUMN_VALUES
from cdp_query.compiled.kernels.values import mark_until
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import kernel, leaf
from cdp_store.limits import MORSEL_ROWS

# The times of one morsel (see MorselTimes): the column of times when attributes were first set, zeros if none ever
# were; then addresses of i64[n] rows that were created at another time, and of i64[n] those times.
MORSEL_CREATED_ROWS: Final = COLUMN_FIELDS
MORSEL_CREATED_TIMES: Final = COLUMN_FIELDS + 1
MORSEL_CREATED_COUNT: Final = COLUMN_FIELDS + 2
MORSEL_FIELDS: Final = COLUMN_FIELDS + 3

# The rows of one partition: addresses of the table of its morsels, and of i64[n] rows that are left out.
ROWS_MORSELS: Final = 0
ROWS_MORSEL_COUNT: Final = 1
ROWS_HIDDEN: Final = 2
ROWS_HIDDEN_COUNT: Final = 3
ROWS_COUNT: Final = 4
ROWS_FIELDS: Final = 5


@kernel
def mark_created(partitions: I64, instant_ms: int, mask: U8) -> None:
    """mask[row] = the row's profile was created up to an instant, for the rows of all partitions, one after the other.

    `partitions` i64[n, ROWS_FIELDS]; a byte a row written, and the column of times read.
    """
    mask[:] = np.uint8(0)
    first = 0
    for number in range(partitions.shape[0]):
        rows = partitions[number]
        own = mask[first : first + rows[ROWS_COUNT]]
        for morsel in range(rows[ROWS_MORSEL_COUNT]):
            times = i64s(rows[ROWS_MORSELS] + 8 * MORSEL_FIELDS * morsel, MORSEL_FIELDS)
            start = morsel * MORSEL_ROWS
            _mark_morsel(times, instant_ms, own[start : min(start + MORSEL_ROWS, own.shape[0])])
        hidden = i64s(rows[ROWS_HIDDEN], rows[ROWS_HIDDEN_COUNT])
        for i in range(hidden.shape[0]):
            own[hidden[i]] = np.uint8(0)
        first += rows[ROWS_COUNT]


@leaf
def _mark_morsel(morsel: I64, instant_ms: int, mask: U8) -> None:
    if morsel[COLUMN_VALUES] != 0:
        mark_until(morsel[:COLUMN_FIELDS], instant_ms, mask)
    rows = i64s(morsel[MORSEL_CREATED_ROWS], morsel[MORSEL_CREATED_COUNT])
    times = i64s(morsel[MORSEL_CREATED_TIMES], morsel[MORSEL_CREATED_COUNT])
    for i in range(rows.shape[0]):
        mask[rows[i]] = np.uint8(times[i] <= instant_ms)
