"""Texts among the items of packed lists: kernels find those that Python finds in the lists themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from cdp_query.matching.packed_lists import PackedLists, PackedTexts
from cdp_store.values import pack_list

_TEXTS = st.sampled_from(("", "a", "b", "ab", "ba", "é", "a" * 40))
_ITEMS = st.one_of(_TEXTS, st.sampled_from((1, -1, 2.5, True, None, ["a"], ["b", "a"], {"a": "b"}, {"k": ["a"]})))


@given(st.lists(st.lists(_ITEMS, max_size=5), max_size=6), st.lists(_TEXTS, max_size=4))
@example([["a"], ["b"], ["a", "b"], []], ["a", "a"])
@example([["a"], []], [])
def test_the_lists_with_any_or_every_text_are_found(lists: list[list[Any]], wanted: list[str]) -> None:
    packed = [pack_list(items) for items in lists]
    starts = np.cumsum([0, *(len(one) for one in packed)])[:-1].astype(np.int64)
    found = PackedLists(np.frombuffer(bytearray().join(packed), np.uint8), starts)
    texts = PackedTexts.of(wanted)
    held = [{item for item in items if isinstance(item, str)} for items in lists]
    assert found.holding(texts, every=False).tolist() == [bool(own & set(wanted)) for own in held]
    assert found.holding(texts, every=True).tolist() == [own >= set(wanted) for own in held]
