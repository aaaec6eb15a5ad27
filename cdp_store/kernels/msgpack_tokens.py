"""Reading msgpack one token at a time.

The bytes are followed by at least 9 more, so that the head of a token can be read before it is known to be whole.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import U8, Int
from cdp_store.kernels.jit import leaf
from cdp_store.kernels.utf8 import is_utf8

PADDING = 16
BROKEN = -1

NIL = 0
BOOL = 1
INT = 2
BEYOND = 3  # an unsigned integer that int64 does not hold
FLOAT = 4
SINGLE = 5
STRING = 6
BINARY = 7
ARRAY = 8
MAP = 9
EXTENSION = 10
NEVER = 11

Token = tuple[Int, Int, Int]


@leaf
def big_endian(data: U8, at: Int, size: Int) -> Int:
    """The unsigned integer of `size` bytes; 8 bytes wrap into int64."""
    value = np.uint64(0)
    for i in range(size):
        value = (value << np.uint64(8)) | np.uint64(data[at + i])
    return np.int64(value)


@leaf
def _sign_extended(value: Int, size: Int) -> Int:
    bits = np.int64(64 - 8 * size)
    return (value << bits) >> bits


@leaf
def read_token(data: U8, at: Int) -> Token:
    """(kind, number, position after the head) of the token at `at`.

    number: the value of BOOL and INT, the bits of FLOAT and SINGLE, the bytes of STRING, BINARY and EXTENSION (its
    type included), the items of ARRAY, the pairs of MAP. Text and items follow the head.
    """
    head = np.int64(data[at])
    at += 1
    if head < 0x80:
        return INT, head, at
    if head < 0x90:
        return MAP, head & 0x0F, at
    if head < 0xA0:
        return ARRAY, head & 0x0F, at
    if head < 0xC0:
        return STRING, head & 0x1F, at
    if head >= 0xE0:
        return INT, head - 256, at
    if head >= 0xCC and head < 0xD4:
        return _integer(data, head, at)
    if head >= 0xD9:
        return _sized(data, head, at)
    if head == 0xC0:
        return NIL, 0, at
    if head == 0xC2 or head == 0xC3:
        return BOOL, head & 1, at
    if head == 0xCA:
        return SINGLE, big_endian(data, at, 4), at + 4
    if head == 0xCB:
        return FLOAT, big_endian(data, at, 8), at + 8
    if head >= 0xD4:
        return EXTENSION, 1 + (1 << (head - 0xD4)), at
    if head >= 0xC7:
        size = 1 << (head - 0xC7)
        return EXTENSION, 1 + big_endian(data, at, size), at + size
    if head >= 0xC4:
        size = 1 << (head - 0xC4)
        return BINARY, big_endian(data, at, size), at + size
    return NEVER, 0, at


@leaf
def _integer(data: U8, head: Int, at: Int) -> Token:
    size = 1 << (head & 3)
    value = big_endian(data, at, size)
    if head >= 0xD0:
        return INT, _sign_extended(value, size), at + size
    # Of the unsigned ones only 8 bytes can come out negative: the number has a bit that int64 has no place for.
    return BEYOND if value < 0 else INT, value, at + size


@leaf
def _sized(data: U8, head: Int, at: Int) -> Token:
    # 0xD9 to 0xDB are texts with a length of 1, 2, 4 bytes; 0xDC and 0xDD arrays, 0xDE and 0xDF maps with one of 2 and
    # 4.
    if head <= 0xDB:
        size = 1 << (head - 0xD9)
        return STRING, big_endian(data, at, size), at + size
    size = 2 + 2 * (head & 1) if head <= 0xDD else 2 + 2 * (head - 0xDE)
    return ARRAY if head <= 0xDD else MAP, big_endian(data, at, size), at + size


@leaf
def skip_value(data: U8, at: Int, end: Int) -> Int:
    """Position after the value at `at`, or BROKEN when it is cut off, holds a byte msgpack never uses, or no UTF-8."""
    stop, is_text = skip_structure(data, at, end)
    return stop if is_text else BROKEN


@leaf
def skip_structure(data: U8, at: Int, end: Int) -> tuple[Int, bool]:
    """(position after the value at `at`, whether all its texts are UTF-8).

    The position is BROKEN when the value is cut off or holds a byte msgpack never uses.
    """
    left: Int = 1  # values to skip; each takes a byte at least, so `end` bounds the loop whatever counts heads claim
    is_text = True
    while left > 0:
        if at >= end:
            return BROKEN, is_text
        kind, number, at = read_token(data, at)
        left -= 1
        if kind == ARRAY:
            left += number
        elif kind == MAP:
            left += 2 * number
        elif kind == STRING:
            if at + number > end:
                return BROKEN, is_text
            is_text = is_text and is_utf8(data, at, at + number)
            at += number
        elif kind == BINARY or kind == EXTENSION:
            at += number
        elif kind == NEVER:
            return BROKEN, is_text
        if at > end:
            return BROKEN, is_text
    return at, is_text
