"""Keyed hashing of byte strings.

SipHash-1-3 (Aumasson and Bernstein, 2012; the reduced-round variant that hash tables use): an attacker who
does not know the key cannot aim identifiers at one slot or one partition.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import U8, U32, U64
from cdp_store.jit import kernel

_ROT_13 = np.uint64(13)
_ROT_16 = np.uint64(16)
_ROT_17 = np.uint64(17)
_ROT_21 = np.uint64(21)
_ROT_32 = np.uint64(32)
_WORD = np.uint64(64)
_EIGHT = np.uint64(8)
_C0 = np.uint64(0x736F6D6570736575)
_C1 = np.uint64(0x646F72616E646F6D)
_C2 = np.uint64(0x6C7967656E657261)
_C3 = np.uint64(0x7465646279746573)
_FINAL = np.uint64(0xFF)
_LENGTH_SHIFT = np.uint64(56)

State = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@kernel
def _rotate(x: np.uint64, by: np.uint64) -> np.uint64:
    return (x << by) | (x >> (_WORD - by))


@kernel
def _round(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64) -> State:
    v0 += v1
    v1 = _rotate(v1, _ROT_13) ^ v0
    v0 = _rotate(v0, _ROT_32)
    v2 += v3
    v3 = _rotate(v3, _ROT_16) ^ v2
    v0 += v3
    v3 = _rotate(v3, _ROT_21) ^ v0
    v2 += v1
    v1 = _rotate(v1, _ROT_17) ^ v2
    v2 = _rotate(v2, _ROT_32)
    return v0, v1, v2, v3


@kernel
def siphash(key0: np.uint64, key1: np.uint64, data: U8, start: int | np.int64, stop: int | np.int64) -> np.uint64:
    """SipHash-1-3 of data[start:stop]; reads each byte once."""
    v0, v1, v2, v3 = key0 ^ _C0, key1 ^ _C1, key0 ^ _C2, key1 ^ _C3
    length = stop - start
    whole = start + (length // 8) * 8
    at = start
    while at < whole:
        word = np.uint64(0)
        for i in range(8):
            word |= np.uint64(data[at + i]) << (np.uint64(i) * _EIGHT)
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        at += 8
    word = np.uint64(length & 0xFF) << _LENGTH_SHIFT
    for i in range(stop - whole):
        word |= np.uint64(data[whole + i]) << (np.uint64(i) * _EIGHT)
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= _FINAL
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def hash_strings(key0: np.uint64, key1: np.uint64, offsets: U32, data: U8, out: U64) -> None:
    """out[i] = keyed hash of string i, i.e. of data[offsets[i]:offsets[i + 1]]."""
    for i in range(out.shape[0]):
        out[i] = siphash(key0, key1, data, int(offsets[i]), int(offsets[i + 1]))
