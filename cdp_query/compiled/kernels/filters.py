"""Event filters in kernels: over the events of a chunk in one morsel, and for one unsealed event."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, u8s, u16s
from cdp_query.compiled.kernels.layout import (
    BLOCK_ROWS,
    COLUMN_BYTES,
    COLUMN_FIELDS,
    FILTER_AND,
    FILTER_CONSTANT,
    FILTER_NOT,
    FILTER_OR,
    FILTER_TEST,
    PART_DELTA,
    PART_DELTA_ENDS,
    PART_DELTA_KEYS,
    PART_DELTA_KINDS,
    PART_DELTA_RAWS,
    TEST_COLUMNS,
    TEST_KEY,
    TEST_NEGATED,
    TEST_OFFSETS,
)
from cdp_query.compiled.kernels.values import test_columns, test_raw
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import leaf


@leaf
def columns_at(offsets_address: int, place: int) -> tuple[int, int]:
    """(first, last) column of the chunk or morsel at a place; (0, 0) if there are none."""
    if offsets_address == 0:
        return 0, 0
    offsets = i64s(offsets_address, place + 2)
    return offsets[place], offsets[place + 1]


@leaf
def filter_events(filters: I64, tests: I64, chunk: int, start: int, masks: U8, scratch: U8, n: int) -> int:
    """masks[0, :n] = events start, start + 1, ... of a chunk that pass a filter; returns values of other types.

    `filters` are its operations, `tests` those of the question in one partition; masks u8[depth, events].
    """
    others = 0
    for begin in range(0, n, BLOCK_ROWS):
        end = min(begin + BLOCK_ROWS, n)
        others += _filter_block(filters, tests, chunk, start, begin, end, masks, scratch)
    return others


@leaf
def _filter_block(
    filters: I64, tests: I64, chunk: int, start: int, begin: int, end: int, masks: U8, scratch: U8
) -> int:
    depth, others, n = 0, 0, end - begin
    for at in range(filters.shape[0]):
        operation, argument = filters[at, 0], filters[at, 1]
        if operation == FILTER_TEST:
            test, mask = tests[argument], masks[depth, begin:end]
            first, last = columns_at(test[TEST_OFFSETS], chunk)
            columns = i64s(test[TEST_COLUMNS], last * COLUMN_FIELDS).reshape((last, COLUMN_FIELDS))
            others += test_columns(columns, first, last, test, start + begin, scratch, mask)
            if test[TEST_NEGATED]:
                for i in range(n):
                    mask[i] ^= np.uint8(1)
            depth += 1
        elif operation == FILTER_CONSTANT:
            masks[depth, begin:end] = np.uint8(argument)
            depth += 1
        elif operation == FILTER_NOT:
            mask = masks[depth - 1, begin:end]
            for i in range(n):
                mask[i] ^= np.uint8(1)
        else:
            depth -= 1
            mask, other = masks[depth - 1, begin:end], masks[depth, begin:end]
            if operation == FILTER_AND:
                for i in range(n):
                    mask[i] &= other[i]
            elif operation == FILTER_OR:
                for i in range(n):
                    mask[i] |= other[i]
    return others


@leaf
def bytes_of_columns(offsets_address: int, columns_address: int, place: int) -> int:
    """Bytes of the columns of the chunk at a place."""
    first, last = columns_at(offsets_address, place)
    columns, read = i64s(columns_address, last * COLUMN_FIELDS), 0
    for number in range(first, last):
        read += columns[number * COLUMN_FIELDS + COLUMN_BYTES]
    return read


@leaf
def bytes_filtered(filters: I64, tests: I64, chunk: int) -> int:
    """Bytes of the columns that a filter reads of a chunk."""
    read = 0
    for at in range(filters.shape[0]):
        if filters[at, 0] == FILTER_TEST:
            test = tests[filters[at, 1]]
            read += bytes_of_columns(test[TEST_OFFSETS], test[TEST_COLUMNS], chunk)
    return read


@leaf
def unsealed_values(part: I64, event: int) -> tuple[int, int]:
    """(first, last) of an unsealed event's values."""
    ends = i64s(part[PART_DELTA_ENDS], part[PART_DELTA])
    return (ends[event - 1] if event > 0 else 0), ends[event]


@leaf
def _passes_test(test: I64, part: I64, first: int, last: int) -> bool:
    keys, kinds = u16s(part[PART_DELTA_KEYS], last), u8s(part[PART_DELTA_KINDS], last)
    raws, passes = i64s(part[PART_DELTA_RAWS], last), False
    for i in range(first, last):
        if np.int64(keys[i]) == test[TEST_KEY] and test_raw(test, int(np.int64(kinds[i])), raws[i]):
            passes = True
    return bool(passes != (test[TEST_NEGATED] != 0))


@leaf
def passes_filter(filters: I64, tests: I64, part: I64, event: int) -> bool:
    """Tests an unsealed event against a filter."""
    first, last = unsealed_values(part, event)
    stack = np.uint64(0)  # a bit each
    for at in range(filters.shape[0]):
        operation, argument = filters[at, 0], filters[at, 1]
        if operation in (FILTER_TEST, FILTER_CONSTANT):
            holds = argument != 0 if operation == FILTER_CONSTANT else _passes_test(tests[argument], part, first, last)
            stack = (stack << np.uint64(1)) | np.uint64(holds)
        elif operation == FILTER_NOT:
            stack ^= np.uint64(1)
        else:
            top = stack & np.uint64(1)
            stack >>= np.uint64(1)
            if operation == FILTER_AND:
                stack &= top | ~np.uint64(1)
            elif operation == FILTER_OR:
                stack |= top
    return bool(stack & np.uint64(1))
