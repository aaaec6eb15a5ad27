"""Profiles that existed at an instant, by the time when their attributes were first set."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.layout import COLUMN_VALUES
from cdp_query.compiled.kernels.values import mark_until
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import kernel
from cdp_store.limits import MORSEL_ROWS


@kernel
def mark_set_by(columns: I64, instant_ms: int, mask: U8) -> None:
    """mask[row] = attributes of a row were first set up to an instant; `columns` i64[morsels, COLUMN_FIELDS].

    A morsel without such times has a row of zeros.
    """
    mask[:] = np.uint8(0)
    for morsel in range(columns.shape[0]):
        if columns[morsel, COLUMN_VALUES] != 0:
            start = morsel * MORSEL_ROWS
            mark_until(columns[morsel], instant_ms, mask[start : min(start + MORSEL_ROWS, mask.shape[0])])
