"""Strings moved between flat buffers, against the same in plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.arrays import I64, U8
from cdp_store.kernels.strings import drop_first_bytes, gather

_TEXTS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=20)


def _flat(texts: list[bytes]) -> tuple[I64, U8]:
    offsets: I64 = np.cumsum([0, *map(len, texts)])
    return offsets, np.frombuffer(b"".join(texts), np.uint8)


@given(_TEXTS, st.data())
@settings(max_examples=200, deadline=None)
def test_strings_are_gathered_in_any_order(texts: list[bytes], data: st.DataObject) -> None:
    entries = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=30))
    offsets, held = _flat(texts)
    wanted = [texts[entry] for entry in entries]
    own, out = gather(offsets, held, np.array(entries, np.int64))
    assert own.tolist() == np.cumsum([0, *map(len, wanted)]).tolist()
    assert out.tobytes() == b"".join(wanted)


@given(_TEXTS, st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_the_first_bytes_are_left_out(texts: list[bytes], before: int) -> None:
    offsets, held = _flat([b"x" * 3] * before + texts)
    own_offsets = offsets[before:]
    out_offsets, out = np.empty(len(texts) + 1, np.int64), np.empty(sum(map(len, texts)) - len(texts), np.uint8)
    drop_first_bytes(own_offsets, held, out_offsets, out)
    assert out_offsets.tolist() == np.cumsum([0, *(len(text) - 1 for text in texts)]).tolist()
    assert out.tobytes() == b"".join(text[1:] for text in texts)
