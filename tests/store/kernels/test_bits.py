"""Masks and bitmaps, against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cdp_store.arrays import U8
from cdp_store.kernels.bits import places_of_ones


@given(st.lists(st.booleans(), max_size=300))
def test_the_places_of_ones_ascend_and_are_all(flags: list[bool]) -> None:
    mask: U8 = np.array(flags, np.uint8)
    assert places_of_ones(mask).tolist() == np.flatnonzero(mask).tolist()
