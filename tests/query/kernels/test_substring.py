"""The substring kernel against Python's `in`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdp_query.kernels.substring import strings_containing

BYTES = st.binary(max_size=6).map(lambda data: bytes(byte % 3 + 97 for byte in data))


def containing(strings: list[bytes], wanted: bytes) -> list[bool]:
    offsets = np.cumsum([0, *map(len, strings)]).astype(np.uint32)
    out = np.zeros(len(strings), np.bool_)
    data, pattern = np.frombuffer(b"".join(strings), np.uint8), np.frombuffer(wanted, np.uint8)
    strings_containing(offsets, data, pattern, out)
    return list(map(bool, out))


@given(st.lists(BYTES, max_size=60), BYTES.filter(bool))
@example([b"ab", b"ba"], b"bb")
@example([b"", b"aa", b"", b"a"], b"a")
def test_as_python_says(strings: list[bytes], wanted: bytes) -> None:
    assert containing(strings, wanted) == [wanted in string for string in strings]


@pytest.mark.parametrize("wanted", [b"x", b"xy", b"xyz" * 30, b"\x00\xff"])
@pytest.mark.parametrize("size", [1, 62, 63, 64, 65, 127, 128, 129, 1000])
def test_wherever_it_stands_in_a_block(wanted: bytes, size: int) -> None:
    for at in range(0, size, 7):
        strings = [
            b"." * size,
            b"." * at + wanted,
            b"-" * (size - at),
            wanted[:-1],
            wanted[1:],
            b"." * at + wanted + b"!",
        ]
        assert containing(strings, wanted) == [wanted in string for string in strings]
