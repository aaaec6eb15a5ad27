"""Equal lists of a column found without making Python objects of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.arrays import I32, I64


def distinct_lists(given: pa.Array) -> tuple[I64, I64]:
    """(number of each row's list i64[n], the first row that has it i64[distinct]) of a list array without nulls.

    Lists of one number are equal to the bit. Lists of objects or of lists are compared as Python values.
    """
    item = given.type.value_type
    nested = pa.types.is_nested(item) or pa.types.is_dictionary(item)
    return _as_numbered(_by_value(given) if nested else _by_codes(given))


def _by_codes(given: pa.Array) -> pa.Array:
    """A byte string for each list: the numbers of its items among all different items."""
    items, sizes = pc.list_flatten(given), pc.list_value_length(given).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(items.type):
        items = items.cast(pa.float64()).view(pa.int64())  # 0.0 and -0.0 are two values
    encoded = items.dictionary_encode(null_encoding="encode")
    codes: I32 = np.ascontiguousarray(encoded.indices.to_numpy(zero_copy_only=False), np.int32)
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
