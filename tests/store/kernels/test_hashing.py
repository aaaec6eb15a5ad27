"""SipHash-1-3 against an independent implementation on Python integers, and against frozen values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.kernels.hashing import hash_strings
from cdp_store.records.records import Strings
from tests.siphash import siphash

KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)  # the key of the published SipHash test vectors
_WORD = (1 << 64) - 1


def hashed(key: tuple[int, int], texts: list[bytes]) -> list[int]:
    """The kernel's hashes."""
    table = Strings.of(texts)
    out = np.empty(len(texts), np.uint64)
    hash_strings(np.uint64(key[0]), np.uint64(key[1]), table.offsets, table.data, out)
    return [int(value) for value in out]


def test_the_independent_implementation_is_siphash() -> None:
    """Vectors of SipHash-2-4 as its authors published them, for inputs 00, 00 01 ... of length 0, 1, 8 and 15."""
    published = {0: 0x726FDB47DD0E0E31, 1: 0x74F839C593DC67FD, 8: 0x93F5F5799A932462, 15: 0xA129CA6149BE45E5}
    for length, expected in published.items():
        assert siphash(KEY, bytes(range(length)), compressions=2, finalizations=4) == expected


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, _WORD), st.integers(0, _WORD))
@settings(max_examples=150)
def test_hashes_are_siphash_1_3(texts: list[bytes], key0: int, key1: int) -> None:
    assert hashed((key0, key1), texts) == [siphash((key0, key1), text) for text in texts]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 255, 256, 257, 8192])
def test_every_length_of_the_last_word(length: int) -> None:
    text = bytes(number * 7 % 256 for number in range(length))
    assert hashed(KEY, [text]) == [siphash(KEY, text)]


def test_frozen_values_never_change() -> None:
    """Partitions and buckets of existing data depend on them."""
    assert [f"{value:016x}" for value in hashed(KEY, [b"", b"uann", b"aann", "učen".encode(), bytes(range(64))])] == [
        "abac0158050fc4dc",
        "7b07a80780c6dcf0",
        "7c540a58b4e5425f",
        "213f402d609c4c39",
        "f17997ec4b4a6065",
    ]


def test_another_key_gives_other_hashes() -> None:
    texts = [bytes([number]) for number in range(50)]
    assert not set(hashed(KEY, texts)) & set(hashed((KEY[0] + 1, KEY[1]), texts))
