"""Sums of integers, and of non-negative decimals such as prices, added as integers of one scale.

Why that is exact for prices stands in cdp_query/scan/decimal_sums.py.
"""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import float_of, i64s, u8s, u16s, u32s
from cdp_query.compiled.kernels.arguments import Memory
from cdp_query.compiled.kernels.event_walk import chunk_table, is_outside, run_arrays
from cdp_query.compiled.kernels.filters import columns_at, unsealed_values
from cdp_query.compiled.kernels.layout import (
    BOUND_COLUMNS,
    BOUND_OFFSETS,
    BOUND_PROPERTY,
    COLUMN_BASE,
    COLUMN_COUNT,
    COLUMN_DTYPE,
    COLUMN_FIELDS,
    COLUMN_HIGH,
    COLUMN_KIND,
    COLUMN_LOW,
    COLUMN_SCALE,
    COLUMN_VALUES,
    LEAF_HIGH,
    LEAF_INT_HIGH,
    LEAF_INT_LOW,
    LEAF_LOW,
    LEAF_MAYBE_HIGH,
    LEAF_MAYBE_LOW,
    LEAF_NEGATED,
    PART_DELTA,
    PART_DELTA_KEYS,
    PART_DELTA_KINDS,
    PART_DELTA_RAWS,
    SUM_MAX,
    SUM_SCALE,
    U8_VALUES,
    U16_VALUES,
    U32_VALUES,
)
from cdp_query.compiled.kernels.values import copy_mask, count_ones, present_bits
from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.kernels.jit import inlined, leaf

_INT = 2
_FLOAT = 3
_FACTOR = 10.0**SUM_SCALE
_MANTISSA_MAX = 1 << 44  # of an unsealed number: so many of them stay below half of SUM_MAX
_UNSEALED_MAX = 1 << 17
NO_SUM = -1
ANY_SCALE = -2  # there is no number
NO_SCALE = 0  # all numbers are integers
MISSING = 0  # what an unsealed event has as its number
INTEGER = 1
DECIMAL = 2
OTHER = 3  # no number
UNFIT = 4  # a number that takes exact sums of floats


@leaf
def scale_of_sums(leaf_row: I64, bound: I64, part: I64) -> int:
    """The scale at which all numbers in the chunks of the interval add up below SUM_MAX, or NO_SUM.

    That is NO_SCALE if all are integers, SUM_SCALE if all are non-negative decimals, ANY_SCALE if there are none.
    """
    chunks, total, integers, decimals, unfit = chunk_table(bound), 0.0, 0, 0, 0
    for number in range(chunks.shape[0]):
        if is_outside(leaf_row, chunks[number]):
            continue
        first, last = columns_at(bound[BOUND_OFFSETS], number)
        columns = i64s(bound[BOUND_COLUMNS], last * COLUMN_FIELDS).reshape((last, COLUMN_FIELDS))
        for each in range(first, last):
            column = columns[each]
            count, low, high = np.float64(column[COLUMN_COUNT]), column[COLUMN_LOW], column[COLUMN_HIGH]
            if column[COLUMN_KIND] == _INT:
                integers += 1
                total += count * max(abs(np.float64(low)), abs(np.float64(high)))
            elif column[COLUMN_KIND] == _FLOAT:
                decimals += 1
                unfit += int(column[COLUMN_SCALE] < 0 or low < 0)
                total += count * high * 10.0 ** (SUM_SCALE - column[COLUMN_SCALE])
    if unfit or (integers and decimals) or total >= SUM_MAX / 2 or part[PART_DELTA] > _UNSEALED_MAX:
        return NO_SUM
    if integers:
        return NO_SCALE
    return SUM_SCALE if decimals else ANY_SCALE


@leaf
def _add_up(values: AnyArray, base: int, factor: int, passes: U8, running: I64) -> None:
    """running[i] = the numbers of the entries before i at SUM_SCALE, as far as they count."""
    total = np.int64(0)
    running[0] = 0
    for i in range(np.uint64(passes.shape[0])):
        total += (base + np.int64(values[i])) * factor * np.int64(passes[i])
        running[i + np.uint64(1)] = total


@inlined
def _add_up_stored(column: I64, scale: int, start: int, passes: U8, running: I64) -> None:
    base, n, address, dtype = column[COLUMN_BASE], passes.shape[0], column[COLUMN_VALUES], column[COLUMN_DTYPE]
    factor = 1
    for _ in range(scale - max(column[COLUMN_SCALE], 0)):
        factor *= 10
    if dtype == U8_VALUES:
        _add_up(u8s(address + start, n), base, factor, passes, running)
    elif dtype == U16_VALUES:
        _add_up(u16s(address + 2 * start, n), base, factor, passes, running)
    elif dtype == U32_VALUES:
        _add_up(u32s(address + 4 * start, n), base, factor, passes, running)
    else:
        _add_up(i64s(address + 8 * start, n), base, factor, passes, running)


@leaf
def _add(run_rows: U16, run_starts: U32, first: int, last: int, running: I64, sums: I64) -> None:
    # What a run adds is the difference of two running totals: a loop over its few events would end unpredictably.
    origin, before = np.uint64(run_starts[first]), np.int64(0)
    for run in range(np.uint64(first), np.uint64(last)):
        after = running[np.uint64(run_starts[run + np.uint64(1)]) - origin]
        sums[run_rows[run]] += after - before
        before = after


@leaf
def add_chunk(
    bound: I64,
    chunk: I64,
    number: int,
    scale: int,
    first_run: int,
    last_run: int,
    start: int,
    passes: U8,
    memory: Memory,
) -> int:
    """sums[row] += the numbers of each run's events that pass; returns how many values are no numbers."""
    run_rows, run_starts = run_arrays(chunk, last_run)
    first, last = columns_at(bound[BOUND_OFFSETS], number)
    columns = i64s(bound[BOUND_COLUMNS], last * COLUMN_FIELDS).reshape((last, COLUMN_FIELDS))
    others, n = 0, passes.shape[0]
    for each in range(first, last):
        column, given = columns[each], memory.scratch[:n]
        copy_mask(passes, given)
        present_bits(column, start, given)
        if column[COLUMN_KIND] in (_INT, _FLOAT):
            _add_up_stored(column, scale, start, given, memory.running)
            _add(run_rows, run_starts, first_run, last_run, memory.running, memory.sums)
        else:
            others += count_ones(given)
    return others


@leaf
def unsealed_amount(bound: I64, part: I64, event: int) -> tuple[int, int]:
    """(MISSING, INTEGER, DECIMAL, OTHER or UNFIT; the number) of an unsealed event, a decimal's at SUM_SCALE."""
    first, last = unsealed_values(part, event)
    keys, kinds = u16s(part[PART_DELTA_KEYS], last), u8s(part[PART_DELTA_KINDS], last)
    raws = i64s(part[PART_DELTA_RAWS], last)
    sort, amount = MISSING, np.int64(0)
    for i in range(first, last):
        if np.int64(keys[i]) == bound[BOUND_PROPERTY]:
            sort = OTHER
            if kinds[i] == np.uint8(_INT):
                amount = raws[i]
                sort = INTEGER if -_MANTISSA_MAX < amount < _MANTISSA_MAX else UNFIT
            elif kinds[i] == np.uint8(_FLOAT):
                value, sort = float_of(raws[i]), UNFIT
                mantissa = np.rint(value * _FACTOR)
                if value >= 0.0 and mantissa < _MANTISSA_MAX and mantissa / _FACTOR == value:
                    sort, amount = DECIMAL, np.int64(mantissa)
    return sort, int(amount)


@leaf
def compare_sums(leaf_row: I64, scale: int, sums: I64, mask: U8) -> bool:
    """mask[i] = the sum of row i is as wanted; False if a sum needs to be known more exactly."""
    low, high, flip = leaf_row[LEAF_LOW], leaf_row[LEAF_HIGH], np.uint8(leaf_row[LEAF_NEGATED])
    maybe_low, maybe_high, open_rows = leaf_row[LEAF_MAYBE_LOW], leaf_row[LEAF_MAYBE_HIGH], 0
    if scale == NO_SCALE:
        low, high = leaf_row[LEAF_INT_LOW], leaf_row[LEAF_INT_HIGH]
        maybe_low, maybe_high = low, high
    for i in range(mask.shape[0]):
        inside = (sums[i] >= low) & (sums[i] <= high)
        maybe = (sums[i] >= maybe_low) & (sums[i] <= maybe_high)
        open_rows += int(maybe & ~inside)
        mask[i] = np.uint8(inside) ^ flip
    return bool(open_rows == 0)
