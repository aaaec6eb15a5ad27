"""Tests of values in kernels: a column's entries against the slot of its kind, and single values of unsealed events."""

from __future__ import annotations

from typing import Any

import numpy as np

from cdp_query.compiled.kernels.addresses import f32s, f64s, float_of, i64s, u8s, u16s, u32s
from cdp_query.compiled.kernels.layout import (
    COLUMN_BASE,
    COLUMN_COUNT,
    COLUMN_DTYPE,
    COLUMN_FIELDS,
    COLUMN_KIND,
    COLUMN_PRESENT,
    COLUMN_SCALE,
    COLUMN_VALUES,
    F32_VALUES,
    F64_VALUES,
    I64_VALUES,
    MODE_CODES,
    MODE_EVERYTHING,
    MODE_OTHER_TYPE,
    MODE_RANGES,
    MODE_TABLE,
    SINCE_COLUMN,
    SINCE_COUNT,
    SINCE_FIRST,
    SINCE_ROWS,
    SINCE_TIMES,
    SLOT_ADDRESS,
    SLOT_COUNT,
    SLOT_DECIMALS,
    SLOT_FIELDS,
    SLOT_MODE,
    TEST_SLOTS,
    U8_VALUES,
    U16_VALUES,
)
from cdp_store.arrays import I64, U8, U32, AnyArray
from cdp_store.kernels.jit import inlined, leaf

_U8_MAX = (1 << 8) - 1
_U16_MAX = (1 << 16) - 1
_U32_MAX = (1 << 32) - 1
_FLOAT = 3
_EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
_EACH_PAIR = np.uint64(0x0001000100010001)


@leaf
def copy_mask(source: U8, mask: U8) -> None:
    """mask[i] = source[i]; an assignment of slices would allocate, for the case that they overlap."""
    for i in range(mask.shape[0]):
        mask[i] = source[i]


@leaf
def list_rows(wanted: U8, rows: U32) -> int:
    """rows[:n] = the rows that are wanted; returns n."""
    found = np.uint64(0)
    for row in range(np.uint64(wanted.shape[0])):
        rows[found] = np.uint32(row)
        found += np.uint64(wanted[row])
    return int(np.int64(found))


@leaf
def count_ones(mask: U8) -> int:
    """Number of ones in a mask: eight bytes at a time, added up in their own lanes until one may be full."""
    n = mask.shape[0]
    words, total = i64s(mask.ctypes.data, n >> 3), np.uint64(0)
    for begin in range(0, words.shape[0], 255):
        lanes = np.uint64(0)
        for i in range(np.uint64(begin), np.uint64(min(begin + 255, words.shape[0]))):
            lanes += np.uint64(words[i])
        pairs = (lanes & _EVEN_BYTES) + ((lanes >> np.uint64(8)) & _EVEN_BYTES)
        total += (pairs * _EACH_PAIR) >> np.uint64(48)
    for i in range(n & ~7, n):
        total += np.uint64(mask[i])
    return int(np.int64(total))


@leaf
def _inside(values: AnyArray, low: Any, high: Any, held: U8) -> None:
    """held[i] |= low <= values[i] <= high; the bounds have the type of the values: wide registers."""
    for i in range(held.shape[0]):
        held[i] |= (values[i] >= low) & (values[i] <= high)


@leaf
def _listed(values: AnyArray, base: int, table: U8, held: U8) -> None:
    """held[i] = table[base + values[i]]; what lies beyond the table satisfies nothing, or belongs to no entry."""
    for i in range(held.shape[0]):
        code = np.uint64(base + np.int64(values[i]))
        held[i] = table[code] if code < np.uint64(table.shape[0]) else np.uint8(0)


@leaf
def _inside_stored(column: I64, start: int, low: int, high: int, held: U8) -> None:
    """held[i] |= low <= stored value start + i <= high, for columns of integers and mantissas."""
    n, dtype, address = held.shape[0], column[COLUMN_DTYPE], column[COLUMN_VALUES]
    if dtype == I64_VALUES:
        _inside(i64s(address + 8 * start, n), low, high, held)
        return
    low = max(low, 0)
    if dtype == U8_VALUES:
        if low <= _U8_MAX and high >= low:
            _inside(u8s(address + start, n), np.uint8(low), np.uint8(min(high, _U8_MAX)), held)
    elif dtype == U16_VALUES:
        if low <= _U16_MAX and high >= low:
            _inside(u16s(address + 2 * start, n), np.uint16(low), np.uint16(min(high, _U16_MAX)), held)
    elif low <= _U32_MAX and high >= low:
        _inside(u32s(address + 4 * start, n), np.uint32(low), np.uint32(min(high, _U32_MAX)), held)


@leaf
def _inside_floats(column: I64, start: int, low: float, high: float, held: U8) -> None:
    """The same for columns of floats; a float32 is compared as the float64 it stands for."""
    n, address = held.shape[0], column[COLUMN_VALUES]
    if column[COLUMN_DTYPE] == F64_VALUES:
        _inside(f64s(address + 8 * start, n), low, high, held)
    else:
        values = f32s(address + 4 * start, n)
        for i in range(n):
            held[i] |= (np.float64(values[i]) >= low) & (np.float64(values[i]) <= high)


@inlined
def _listed_stored(column: I64, start: int, table: U8, held: U8) -> None:
    n, dtype, address, base = held.shape[0], column[COLUMN_DTYPE], column[COLUMN_VALUES], column[COLUMN_BASE]
    if dtype == U8_VALUES:
        _listed(u8s(address + start, n), base, table, held)
    elif dtype == U16_VALUES:
        _listed(u16s(address + 2 * start, n), base, table, held)
    elif dtype == I64_VALUES:
        _listed(i64s(address + 8 * start, n), base, table, held)
    else:
        _listed(u32s(address + 4 * start, n), base, table, held)


@leaf
def _held(column: I64, slot: I64, start: int, held: U8) -> None:
    """Entries start, start + 1, ... of a column that satisfy the slot of its kind, present or not: u8[n]."""
    mode, address, count = slot[SLOT_MODE], slot[SLOT_ADDRESS], slot[SLOT_COUNT]
    if mode == MODE_EVERYTHING:
        held[:] = np.uint8(1)
        return
    held[:] = np.uint8(0)
    if mode == MODE_TABLE:
        _listed_stored(column, start, u8s(address, count), held)
        return
    if mode == MODE_CODES:
        for each in range(count):
            code = less(slot[SLOT_DECIMALS] if each else address, column[COLUMN_BASE])
            _inside_stored(column, start, code, code, held)
        return
    if column[COLUMN_DTYPE] >= F32_VALUES:
        floats = f64s(address, 2 * count)
        for each in range(count):
            _inside_floats(column, start, floats[2 * each], floats[2 * each + 1], held)
        return
    base = column[COLUMN_BASE]
    if column[COLUMN_SCALE] >= 0:
        address = slot[SLOT_DECIMALS] + 16 * count * column[COLUMN_SCALE]
    ranges = i64s(address, 2 * count)
    for each in range(count):
        low, high = ranges[2 * each], ranges[2 * each + 1]
        if low <= high:
            _inside_stored(column, start, less(low, base), less(high, base), held)


@leaf
def less(value: int, base: int) -> int:
    """value - base; at the end of int64 instead of around it."""
    difference = value - base
    if (value ^ base) & (value ^ difference) < 0:
        return np.iinfo(np.int64).max if value >= 0 else np.iinfo(np.int64).min
    return difference


@leaf
def present_bits(column: I64, start: int, mask: U8) -> None:
    """mask[i] &= 1 if entry start + i has a value."""
    if column[COLUMN_PRESENT] == 0:
        return
    bits, n = u8s(column[COLUMN_PRESENT], (column[COLUMN_COUNT] + 7) >> 3), mask.shape[0]
    head = min(-start & 7, n)
    for i in range(head):
        mask[i] &= (bits[(start + i) >> 3] >> np.uint8((start + i) & 7)) & np.uint8(1)
    whole, first = (n - head) >> 3, (start + head) >> 3
    for byte in range(np.uint64(whole)):
        # Eight entries a byte, without a loop inside: LLVM then makes one multiplication or shuffle of it.
        own, at = bits[np.uint64(first) + byte], np.uint64(head) + (byte << np.uint64(3))
        for bit in range(np.uint64(8)):
            mask[at + bit] &= (own >> np.uint8(bit)) & np.uint8(1)
    for i in range(head + (whole << 3), n):
        mask[i] &= (bits[(start + i) >> 3] >> np.uint8((start + i) & 7)) & np.uint8(1)


@leaf
def mark_present(column: I64, mask: U8) -> None:
    """mask[i] = 1 if entry i has a value, else 0."""
    mask[:] = np.uint8(1)
    present_bits(column, 0, mask)


@leaf
def mark_until(column: I64, high: int, mask: U8) -> None:
    """Sets mask[i], all zeros before, if entry i of a column of integers has a value up to `high`."""
    covered = mask[: min(mask.shape[0], column[COLUMN_COUNT])]
    _inside_stored(column, 0, np.iinfo(np.int64).min, less(high, column[COLUMN_BASE]), covered)
    present_bits(column, 0, covered)


@leaf
def mark_holding(since: I64, instant_ms: int, scratch: U8, holds: U8) -> None:
    """holds[i] = what row i has since some time was there at an instant already, such as a value or its removal."""
    holds[:] = np.uint8(0)
    if since[SINCE_FIRST] != 0:
        mark_until(i64s(since[SINCE_FIRST], COLUMN_FIELDS), instant_ms, holds)
    rows, times = u16s(since[SINCE_ROWS], since[SINCE_COUNT]), i64s(since[SINCE_TIMES], since[SINCE_COUNT])
    for i in range(rows.shape[0]):
        holds[rows[i]] = np.uint8(times[i] <= instant_ms)
    if since[SINCE_COLUMN] != 0:
        column = i64s(since[SINCE_COLUMN], COLUMN_FIELDS)
        covered = scratch[: min(holds.shape[0], column[COLUMN_COUNT])]
        mark_present(column, covered)
        for i in range(covered.shape[0]):
            holds[i] &= covered[i] ^ np.uint8(1)
        covered[:] = np.uint8(0)
        mark_until(column, instant_ms, covered)
        for i in range(covered.shape[0]):
            holds[i] |= covered[i]


@leaf
def test_columns(columns: I64, first: int, last: int, test: I64, start: int, scratch: U8, mask: U8) -> int:
    """mask[i] = entry start + i satisfies a test in any of the columns first:last; returns how many are of other types.

    `columns` is a table of them. A column may end before the mask does.
    """
    mask[:] = np.uint8(0)
    others = 0
    for number in range(first, last):
        column = columns[number]
        n = min(mask.shape[0], max(column[COLUMN_COUNT] - start, 0))
        own, held = mask[:n], scratch[:n]
        at = TEST_SLOTS + column[COLUMN_KIND] * SLOT_FIELDS
        slot = test[at : at + SLOT_FIELDS]
        if slot[SLOT_MODE] == MODE_OTHER_TYPE:
            held[:] = np.uint8(1)
            present_bits(column, start, held)
            others += count_ones(held)
            continue
        _held(column, slot, start, held)
        present_bits(column, start, held)
        for i in range(n):
            own[i] |= held[i]
    return others


@leaf
def test_raw(test: I64, kind: int, raw: int) -> bool:
    """Tests one value in the form of values.py."""
    at = TEST_SLOTS + kind * SLOT_FIELDS
    mode, address, count = test[at + SLOT_MODE], test[at + SLOT_ADDRESS], test[at + SLOT_COUNT]
    if mode == MODE_EVERYTHING:
        return True
    if mode == MODE_TABLE:
        return 0 <= raw < count and bool(u8s(address, count)[raw])
    if mode == MODE_CODES:
        return bool((count > 0 and raw == address) or (count > 1 and raw == test[at + SLOT_DECIMALS]))
    if mode == MODE_RANGES:
        for each in range(count):
            if kind == _FLOAT:
                bounds = f64s(address, 2 * count)
                value = float_of(raw)
                if bounds[2 * each] <= value <= bounds[2 * each + 1]:
                    return True
            else:
                ranges = i64s(address, 2 * count)
                if ranges[2 * each] <= raw <= ranges[2 * each + 1]:
                    return True
    return False
