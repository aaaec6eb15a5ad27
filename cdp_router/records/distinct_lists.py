"""Equal lists of a column, found without making Python objects of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.arrays import I32, I64


def distinct_lists(given: pa.Array) -> tuple[I64, I64]:
    """(number of each row's list i64[n], the first row of each list i64[distinct]) of a list array without nulls.

    Lists of numbers are equal bit by bit. Lists of objects or of lists are compared as Python values.
    """
    item = given.type.value_type
    nested = pa.types.is_nested(item)
    return _as_numbered(_by_value(given) if nested else _by_codes(given))


def _by_codes(given: pa.Array) -> pa.Array:
    """A byte string for each list: the numbers of its items among all different items."""
    items, sizes = pc.list_flatten(given), pc.list_value_length(given).to_numpy(zero_copy_only=False)
    if pa.types.is_dictionary(items.type):
        return _by_numbers(given, _coded(items), sizes)
    if pa.types.is_floating(items.type):
        items = items.cast(pa.float64()).view(pa.int64())  # 0.0 and -0.0 are two values
    encoded = items.dictionary_encode(null_encoding="encode")
    codes: I32 = np.ascontiguousarray(encoded.indices.to_numpy(zero_copy_only=False), np.int32)
    return _by_numbers(given, codes, sizes)


def _coded(items: pa.DictionaryArray) -> I32:
    """The number of each item, -1 for null; a value that the dictionary contains twice has one number."""
    values = items.dictionary
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64()).view(pa.int64())
    encoded = values.dictionary_encode()
    number_of = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    codes: I32 = pc.fill_null(items.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    numbers: I32 = np.append(number_of, -1).astype(np.int32)  # the code -1 is the last one
    return numbers[codes]


def _by_numbers(given: pa.Array, codes: I32, sizes: I64) -> pa.Array:
    offsets: I64 = np.append(0, np.cumsum(sizes, dtype=np.int64)) * codes.itemsize
    return pa.Array.from_buffers(pa.large_binary(), len(given), [None, pa.py_buffer(offsets), pa.py_buffer(codes)])


def _by_value(given: pa.Array) -> pa.Array:
    return pa.array([repr(items) for items in given.to_pylist()], pa.large_string())


def _as_numbered(keys: pa.Array) -> tuple[I64, I64]:
    encoded = keys.dictionary_encode()
    numbers: I64 = encoded.indices.to_numpy().astype(np.int64)
    firsts: I64 = np.zeros(len(encoded.dictionary), np.int64)
    firsts[numbers[::-1]] = np.arange(len(keys) - 1, -1, -1)
    return numbers, firsts
