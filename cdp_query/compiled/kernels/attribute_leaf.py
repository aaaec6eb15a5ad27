"""Conditions on attributes, over the dense columns of a morsel."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s
from cdp_query.compiled.kernels.filters import columns_at
from cdp_query.compiled.kernels.layout import (
    COLUMN_BYTES,
    COLUMN_FIELDS,
    COUNT_BYTES,
    COUNT_CHUNKS,
    COUNT_MISMATCH,
    COUNT_ROWS,
    TEST_COLUMNS,
    TEST_NEGATED,
    TEST_OFFSETS,
)
from cdp_query.compiled.kernels.values import test_columns
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import inlined


@inlined
def attribute_leaf(test: I64, morsel: int, scratch: U8, counters: I64, mask: U8) -> None:
    """mask[i] = row i of the morsel satisfies the condition."""
    first, last = columns_at(test[TEST_OFFSETS], morsel)
    columns = i64s(test[TEST_COLUMNS], last * COLUMN_FIELDS).reshape((last, COLUMN_FIELDS))
    counters[COUNT_MISMATCH] += test_columns(columns, first, last, test, 0, scratch, mask)
    if first < last:
        counters[COUNT_CHUNKS] += 1
        counters[COUNT_ROWS] += mask.shape[0]
    for number in range(first, last):
        counters[COUNT_BYTES] += columns[number, COLUMN_BYTES]
    if test[TEST_NEGATED]:
        for i in range(mask.shape[0]):
            mask[i] ^= np.uint8(1)
