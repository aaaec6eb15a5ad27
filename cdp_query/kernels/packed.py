"""Walking over values packed as msgpack, many at a time. The bytes were checked when they came."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, Int
from cdp_store.kernels.jit import kernel
from cdp_store.kernels.msgpack_tokens import (
    ARRAY,
    BINARY,
    BOOL,
    EXTENSION,
    FLOAT,
    INT,
    MAP,
    SINGLE,
    STRING,
    big_endian,
    read_token,
)
from cdp_store.kernels.words import copy_bytes
from cdp_store.values import Kind

_BOOL, _INT, _FLOAT, _STRING = int(Kind.BOOL), int(Kind.INT), int(Kind.FLOAT), int(Kind.STRING)
_TIME, _LIST = int(Kind.TIME), int(Kind.LIST)
OTHER = 7  # a value without a kind: an object, bytes, or an integer beyond int64
NANOSECONDS_PER_MS = 1_000_000


@kernel
def past_value(data: U8, at: Int) -> Int:
    """Position after the value at `at`."""
    left: Int = 1  # values to pass, with the items of arrays and maps met on the way: no recursion
    while left > 0:
        kind, number, at = read_token(data, at)
        left -= 1
        if kind == ARRAY:
            left += number
        elif kind == MAP:
            left += 2 * number
        elif kind == STRING or kind == BINARY or kind == EXTENSION:
            at += number
    return at


@kernel
def list_sizes(data: U8, starts: I64, sizes: I64) -> None:
    """sizes[i] = number of items of the list at starts[i]; some bytes a list."""
    for i in range(starts.shape[0]):
        sizes[i] = read_token(data, starts[i])[1]


@kernel
def item_starts(data: U8, starts: I64, out: I64) -> None:
    """out: where the items of each list begin, list after list; every byte of the lists once, 8 written an item."""
    done = 0
    for i in range(starts.shape[0]):
        _, size, at = read_token(data, starts[i])
        for _ in range(size):
            out[done] = at
            done += 1
            at = past_value(data, at)


@kernel
def find_field(data: U8, starts: I64, name: U8, out: I64) -> None:
    """out[i]: where the value of the field `name` of the object at starts[i] begins, or -1 (also where starts[i] is).

    Every byte of the objects once, up to the field.
    """
    for i in range(starts.shape[0]):
        out[i] = -1
        if starts[i] < 0:
            continue
        kind, pairs, at = read_token(data, starts[i])
        if kind != MAP:
            continue
        for _ in range(pairs):
            kind, size, at = read_token(data, at)
            same = kind == STRING and size == name.shape[0]
            for j in range(size if same else 0):
                if data[at + j] != name[j]:
                    same = False
                    break
            at += size
            if same:
                out[i] = at
                break
            at = past_value(data, at)


@kernel
def read_values(data: U8, starts: I64, kinds: U8, raws: I64, sizes: I64) -> None:
    """The value at each start: its kind (Kind, or OTHER; 0: none, or starts[i] is -1) and 64-bit form (values.py).

    Of a STRING raws[i] is where its bytes begin and sizes[i] how many there are. A few bytes read a value, 17 written.
    """
    for i in range(starts.shape[0]):
        kinds[i], raws[i], sizes[i] = 0, 0, 0
        if starts[i] < 0:
            continue
        kind, number, at = read_token(data, starts[i])
        raws[i] = number
        if kind == BOOL:
            kinds[i] = _BOOL
        elif kind == INT:
            kinds[i] = _INT
        elif kind == FLOAT:
            kinds[i] = _FLOAT
        elif kind == SINGLE:
            bits = np.empty(1, np.uint32)
            bits[0] = number
            wide = np.empty(1, np.float64)
            wide[0] = bits.view(np.float32)[0]
            kinds[i], raws[i] = _FLOAT, wide.view(np.int64)[0]
        elif kind == STRING:
            kinds[i], raws[i], sizes[i] = _STRING, at, number
        elif kind == EXTENSION:
            kinds[i], raws[i] = _TIME, _timestamp_ms(data, at + 1, number - 1)
        elif kind == ARRAY:
            kinds[i] = _LIST
        elif kind != 0:
            kinds[i] = OTHER


@kernel
def _timestamp_ms(data: U8, at: Int, size: Int) -> Int:
    """Milliseconds of a msgpack timestamp of 4, 8 or 12 bytes, rounded down."""
    if size == 4:
        return big_endian(data, at, 4) * 1000
    if size == 8:
        both = np.uint64(big_endian(data, at, 8))
        seconds = np.int64(both & np.uint64((1 << 34) - 1))
        return seconds * 1000 + np.int64(both >> np.uint64(34)) // NANOSECONDS_PER_MS
    return big_endian(data, at + 4, 8) * 1000 + big_endian(data, at, 4) // NANOSECONDS_PER_MS


@kernel
def copy_spans(data: U8, starts: I64, offsets: I64, out: U8) -> None:
    """out[offsets[i]:offsets[i + 1]] = as many bytes of data from starts[i] on; each byte read and written once."""
    for i in range(starts.shape[0]):
        copy_bytes(data, starts[i], offsets[i + 1] - offsets[i], out, offsets[i])


@kernel
def lists_holding(data: U8, starts: I64, texts: U8, ends: I64, every: bool, found: U8) -> None:
    """found[i] = the list at starts[i] has any of some texts among its items, or `every` one of them.

    `texts` are back to back, ends i64[n] where each ends. Every byte of the lists once.
    """
    met = np.empty(ends.shape[0], np.uint8)
    for i in range(starts.shape[0]):
        met[:] = 0
        missing = ends.shape[0] if every else min(ends.shape[0], 1)
        _, size, at = read_token(data, starts[i])
        for _ in range(size):
            kind, length, inside = read_token(data, at)
            if kind != STRING:
                at = past_value(data, at)
                continue
            at, begin = inside + length, 0
            for wanted in range(ends.shape[0]):
                end = ends[wanted]
                same = met[wanted] == 0 and end - begin == length
                for j in range(length if same else 0):
                    if data[inside + j] != texts[begin + j]:
                        same = False
                        break
                if same:
                    met[wanted] = 1
                    missing -= 1
                begin = end
        found[i] = missing <= 0 and (every or ends.shape[0] > 0)


@kernel
def equal_spans(data: U8, starts: I64, sizes: I64, wanted: U8, found: U8) -> None:
    """found[i] = 1 where the sizes[i] bytes of data from starts[i] on are `wanted`."""
    for i in range(starts.shape[0]):
        same = sizes[i] == wanted.shape[0]
        for j in range(wanted.shape[0] if same else 0):
            if data[starts[i] + j] != wanted[j]:
                same = False
                break
        if same:
            found[i] = 1
