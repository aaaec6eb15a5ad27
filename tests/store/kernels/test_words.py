"""Copying short texts eight bytes at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from cdp_store.arrays import U8
from cdp_store.kernels.words import copy_bytes


@njit
def _copy(data: U8, start: int, count: int, out: U8, at: int) -> None:
    copy_bytes(data, start, count, out, at)


@pytest.mark.parametrize("count", range(35))
def test_as_many_bytes_as_asked_are_copied_and_no_other_is_touched(count: int) -> None:
    data: U8 = np.arange(1, 61, dtype=np.uint8)
    out: U8 = np.zeros(60, np.uint8)
    for start, at in ((0, 0), (3, 5), (60 - count, 60 - count)):
        out[:] = 0
        _copy(data, start, count, out, at)
        assert out[at : at + count].tolist() == data[start : start + count].tolist()
        assert not out[:at].any() and not out[at + count :].any()
