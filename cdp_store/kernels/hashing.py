"""Keyed hashing of byte strings.

SipHash-1-3 (Aumasson and Bernstein, 2012; the reduced-round variant that hash tables use): an attacker who
does not know the key cannot aim identifiers at one slot or one partition.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import U8, U32, U64
from cdp_store.kernels.jit import kernel, leaf

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
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)

State = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@leaf
def _rotate(x: np.uint64, by: np.uint64) -> np.uint64:
    return (x << by) | (x >> (_WORD - by))


@leaf
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


@leaf
def siphash(key0: np.uint64, key1: np.uint64, data: U8, start: int | np.int64, stop: int | np.int64) -> np.uint64:
    """SipHash-1-3 of data[start:stop]; reads each byte once."""
    v0, v1, v2, v3 = key0 ^ _C0, key1 ^ _C1, key0 ^ _C2, key1 ^ _C3
    length = stop - start
    whole = start + (length // 8) * 8
    at = start
    while at < whole:
        word = np.uint64(0)
        for i in range(8):
            # From bytes, not by one load: texts begin anywhere, and the order of bytes must be the same on every
            # machine.
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


@leaf
def _mix(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = (value ^ (value >> _SHIFT_30)) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFT_27)) * _MIX_2
    return mixed ^ (mixed >> _SHIFT_31)


@leaf
def _combine(first: np.uint64, second: np.uint64) -> np.uint64:
    """`digest.combine` of two single hashes."""
    # Not symmetric, unlike a bare xor, of which two equal halves would always give 0.
    return _mix((_mix(first) + _GOLDEN) ^ second)


@leaf
def _hash_id(key0: np.uint64, key1: np.uint64, offsets: U32, data: U8, number: int) -> tuple[np.uint64, np.uint64]:
    """128-bit hash of one string as (high, low); (0, 0) for the empty one."""
    start, stop = int(offsets[number]), int(offsets[number + 1])
    if start == stop:
        return np.uint64(0), np.uint64(0)
    # Twice, under different keys: ids are known by the hash alone, so that one that met another's would be lost unseen.
    return siphash(key0, key1, data, start, stop), siphash(key1, ~key0, data, start, stop)


@kernel
def hash_ids(key0: np.uint64, key1: np.uint64, offsets: U32, data: U8, high: U64, low: U64) -> None:
    """128-bit keyed hash of each string in high and low, u64[n]; (0, 0) for the empty one."""
    for i in range(high.shape[0]):
        high[i], low[i] = _hash_id(key0, key1, offsets, data, i)


@kernel
def hash_records(
    key0: np.uint64,
    key1: np.uint64,
    ids: tuple[U32, U8],
    owners: tuple[U32, U8, U32],
    givers: tuple[U32, U8, U32],
    out: U64,
) -> None:
    """Hash the id of each record, alone and with its identifier, into out u64[n, 4]: high, low, high and low alone.

    `ids`, `owners` and `givers` are tables of strings (offsets, data), the last two with the string of each record.
    The identifier is the giver's where there is one, else the owner's. Records without an id get zeros.
    """
    for i in range(out.shape[0]):
        high, low = _hash_id(key0, key1, ids[0], ids[1], i)
        out[i, 2], out[i, 3] = high, low
        if high == 0 and low == 0:
            out[i, 0], out[i, 1] = high, low
            continue
        owner_high, owner_low = np.uint64(0), np.uint64(0)
        if givers[2].shape[0]:
            owner_high, owner_low = _hash_id(key0, key1, givers[0], givers[1], givers[2][i])
        # (0, 0) is the empty giver: the record came under its own identifier.
        if owner_high == 0 and owner_low == 0:
            owner_high, owner_low = _hash_id(key0, key1, owners[0], owners[1], owners[2][i])
        out[i, 0], out[i, 1] = _combine(high, owner_high), _combine(low, owner_low)
