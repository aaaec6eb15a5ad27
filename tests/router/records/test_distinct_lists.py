"""Equal lists get one number, whatever their items are; lists that differ in a bit do not."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.records.distinct_lists import distinct_lists

TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "strings": (pa.string(), ["", "a", "b", "ab"]),
    "large strings": (pa.large_string(), ["", "a"]),
    "integers": (pa.int64(), [0, 1, -1, 1 << 40]),
    "floats": (pa.float64(), [0.0, -0.0, 1.5]),
    "singles": (pa.float32(), [0.0, -0.0, 1.5]),
    "flags": (pa.bool_(), [True, False]),
    "times": (pa.timestamp("ms", "UTC"), [datetime(2024, 1, 1, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)]),
    "decimals": (pa.decimal128(5, 2), [Decimal("1.50"), Decimal("0.00")]),
    "objects": (pa.struct([("sku", pa.string())]), [{"sku": "a"}, {"sku": None}]),
    "lists": (pa.list_(pa.int8()), [[1], [], [1, 1]]),
    "codes": (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("make", [pa.list_, pa.large_list])
@given(data=st.data())
@settings(max_examples=12)
def test_lists_are_numbered_as_their_values_are_different(name: str, make: Any, data: st.DataObject) -> None:
    item, values = TYPES[name]
    lists = data.draw(st.lists(st.lists(st.sampled_from([*values, None]), max_size=3), max_size=8))
    column = pa.array([["x"], *lists] if item == pa.string() else [[], *lists], make(item)).slice(1)
    numbers, firsts = distinct_lists(column)
    keys = [repr(items) for items in column.to_pylist()]
    first_of = {key: keys.index(key) for key in keys}
    assert firsts.tolist() == list(first_of.values())
    assert [firsts[number] for number in numbers] == [first_of[key] for key in keys]
