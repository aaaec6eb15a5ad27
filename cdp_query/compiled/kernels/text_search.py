"""Searching the strings of an attribute for bytes, only those of rows that are still undecided, and each once."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import i64s, prefetch, u8s, u16s, u32s
from cdp_query.compiled.kernels.layout import (
    COLUMN_BASE,
    COLUMN_COUNT,
    COLUMN_DTYPE,
    COLUMN_KIND,
    COLUMN_VALUES,
    COUNT_BYTES,
    MODE_TABLE,
    SEARCH_BYTES,
    SEARCH_DATA,
    SEARCH_FIELDS,
    SEARCH_IS_DONE,
    SEARCH_IS_WIDE,
    SEARCH_LENGTH,
    SEARCH_OFFSETS,
    SEARCH_SEEN,
    SEARCH_WANTED,
    SLOT_ADDRESS,
    SLOT_COUNT,
    SLOT_DECIMALS,
    SLOT_FIELDS,
    SLOT_MODE,
    TEST_SLOTS,
    U8_VALUES,
    U16_VALUES,
    U32_VALUES,
)
from cdp_query.compiled.kernels.values import count_ones, list_rows
from cdp_query.kernels.substring import strings_containing
from cdp_store.arrays import I64, U8, U32
from cdp_store.kernels.jit import inlined, leaf
from cdp_store.kernels.words import word_at

_STRING = 4
_SLOT = TEST_SLOTS + _STRING * SLOT_FIELDS
_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_WORD = 8
_MANY = 7  # a string costs that many times as much if it is searched alone
_AHEAD = 12  # strings


@inlined
def is_searched(test: I64) -> bool:
    """True if the table of a test is filled by searching."""
    return bool(test[_SLOT + SLOT_MODE] == MODE_TABLE and test[_SLOT + SLOT_DECIMALS] != 0)


@leaf
def search_texts(columns: I64, first: int, last: int, test: I64, asked: U8, chosen: U32, counters: I64) -> None:
    """Decides, in the table of a test, the strings of the rows asked for; `columns` are those of one morsel.

    If so many rows ask that it is faster, all strings are searched in one pass over their bytes. `chosen` u32[rows] is
    working memory.
    """
    search, count = i64s(test[_SLOT + SLOT_DECIMALS], SEARCH_FIELDS), test[_SLOT + SLOT_COUNT]
    table, seen = u8s(test[_SLOT + SLOT_ADDRESS], count), u8s(search[SEARCH_SEEN], count)
    if not search[SEARCH_IS_DONE] and count_ones(asked) * _MANY > count:
        counters[COUNT_BYTES] += search[SEARCH_BYTES]
        search[SEARCH_IS_DONE] = 1
        _search_all(search, count, table)
    if search[SEARCH_IS_DONE]:
        return
    for number in range(first, last):
        column = columns[number]
        if column[COLUMN_KIND] == _STRING and count > 0:
            n = min(asked.shape[0], column[COLUMN_COUNT])
            codes = chosen[: _choose_codes(column, asked[:n], seen, chosen)]
            counters[COUNT_BYTES] += _search_each(search, codes, seen, table)


@leaf
def _choose_codes(column: I64, asked: U8, seen: U8, chosen: U32) -> int:
    """chosen[:n] = the codes of the rows asked for that have not been searched; returns n."""
    rows, found = chosen[: list_rows(asked, chosen)], np.uint64(0)
    for number in range(np.uint64(rows.shape[0])):
        # Rows without a string may hold any code.
        code = np.uint64(_code_at(column, int(np.int64(rows[number]))))
        is_known = code < np.uint64(seen.shape[0])
        chosen[found] = np.uint32(code)
        found += np.uint64(is_known) & np.uint64(seen[code * np.uint64(is_known)] == np.uint8(0))
    return int(np.int64(found))


@leaf
def _search_each(search: I64, codes: U32, seen: U8, table: U8) -> int:
    """Searches strings one by one; returns their bytes."""
    read, n = 0, codes.shape[0]
    for each in range(n):
        # They lie anywhere in memory: what is asked for ahead is there when its turn comes.
        ahead = _span_of(search, int(np.int64(codes[min(each + _AHEAD, n - 1)])))[0]
        prefetch(search[SEARCH_DATA] + ahead)
        code = codes[each]
        start, stop = _span_of(search, int(np.int64(code)))
        seen[code] = np.uint8(1)
        table[code] = np.uint8(_contains(search, start, stop))
        read += stop - start
    return read


@inlined
def _search_all(search: I64, count: int, table: U8) -> None:
    data, wanted = u8s(search[SEARCH_DATA], search[SEARCH_BYTES]), u8s(search[SEARCH_WANTED], search[SEARCH_LENGTH])
    if search[SEARCH_IS_WIDE]:
        strings_containing(i64s(search[SEARCH_OFFSETS], count + 1), data, wanted, table)
    else:
        strings_containing(u32s(search[SEARCH_OFFSETS], count + 1), data, wanted, table)


@leaf
def _code_at(column: I64, row: int) -> int:
    dtype, address, base = column[COLUMN_DTYPE], column[COLUMN_VALUES], column[COLUMN_BASE]
    if dtype == U8_VALUES:
        return int(base + np.int64(u8s(address, row + 1)[row]))
    if dtype == U16_VALUES:
        return int(base + np.int64(u16s(address, row + 1)[row]))
    if dtype == U32_VALUES:
        return int(base + np.int64(u32s(address, row + 1)[row]))
    return int(base + i64s(address, row + 1)[row])


@leaf
def _span_of(search: I64, code: int) -> tuple[int, int]:
    """(start, stop) of a string among all bytes."""
    if search[SEARCH_IS_WIDE]:
        wide = i64s(search[SEARCH_OFFSETS], code + 2)
        return wide[code], wide[code + 1]
    narrow = u32s(search[SEARCH_OFFSETS], code + 2)
    return int(np.int64(narrow[code])), int(np.int64(narrow[code + 1]))


@leaf
def _contains(search: I64, start: int, stop: int) -> bool:
    """True if bytes start:stop contain those that are wanted, one or more.

    Eight places at a time are searched for the first two of them (a zero byte in a word is found as Mycroft did, 1987).
    """
    data, size, length = search[SEARCH_DATA], search[SEARCH_BYTES], search[SEARCH_LENGTH]
    wanted, step = u8s(search[SEARCH_WANTED], length), min(1, length - 1)
    first, second = np.uint64(wanted[0]) * _ONES, np.uint64(wanted[step]) * _ONES
    at, last = start, stop - length
    while at <= last:
        # The last bytes of all are compared one by one: a word there would reach beyond them.
        if at + step + _WORD <= size:
            differ = (word_at(data, at) ^ first) | (word_at(data, at + step) ^ second)
            if (differ - _ONES) & ~differ & _TOPS == np.uint64(0):
                at += _WORD
                continue
        end = min(at + _WORD, last + 1)
        while at < end:
            if _matches(u8s(data + at, length), wanted):
                return True
            at += 1
    return False


@leaf
def _matches(data: U8, wanted: U8) -> bool:
    for i in range(wanted.shape[0]):
        if data[i] != wanted[i]:
            return False
    return True
