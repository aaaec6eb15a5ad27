"""Text is told from other bytes as Python tells it."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cdp_store.kernels.utf8 import is_utf8

# Every byte that begins or ends a range of the definition.
_EDGES = (0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
          0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF)  # fmt: skip


def _by_python(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _by_kernel(data: bytes) -> bool:
    padded = np.frombuffer(b"\x80" + data + b"\x80", np.uint8).copy()
    return bool(is_utf8(padded, 1, 1 + len(data)))


def test_every_sequence_of_edges_of_up_to_three_bytes() -> None:
    for length in range(4):
        for chosen in itertools.product(_EDGES, repeat=length):
            assert _by_kernel(bytes(chosen)) == _by_python(bytes(chosen)), bytes(chosen)


@given(st.integers(0, 1 << 32))
def test_random_sequences_of_edges(seed: int) -> None:
    chance = random.Random(seed)
    data = bytes(chance.choices(_EDGES, k=chance.randrange(4, 7)))
    assert _by_kernel(data) == _by_python(data)


@given(st.text())
def test_all_text_is_text(text: str) -> None:
    assert _by_kernel(text.encode())
