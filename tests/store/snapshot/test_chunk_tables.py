"""Chunks in files: what is read back is held exactly as it was, value by value, in the same narrow arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from cdp_store.columns.column import narrow
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import chunk_in_order
from cdp_store.limits import BUCKET_MS
from cdp_store.snapshot.arrow_tables import from_parquet, to_parquet, union_of_keys, without_levels
from cdp_store.snapshot.chunk_tables import FileColumns, chunk_table, column_entry
from cdp_store.snapshot.manifest import ChunkEntry
from cdp_store.values import Kind

COUNT = 5


def raw(*floats: float) -> list[int]:
    """Floats in the 64-bit form of values.py."""
    found: list[int] = np.array(floats, np.float64).view(np.int64).tolist()
    return found


VALUES: dict[str, tuple[Kind, list[int]]] = {
    "bytes": (Kind.INT, [0, 7, 200, 255, 3]),
    "negative": (Kind.INT, [-3, -200, 0, 5, 9]),
    "over a base": (Kind.INT, [1 << 40, (1 << 40) + 9, 1 << 40, (1 << 40) + 300, 1 << 40]),
    "whole range of 32 bits": (Kind.INT, [-(1 << 31), (1 << 31) - 1, 0, 5, -1]),
    "wide": (Kind.INT, [-(1 << 63), (1 << 63) - 1, 0, 1, -1]),
    "codes": (Kind.STRING, [70_000, 70_001, 70_255, 70_002, 70_000]),
    "lists": (Kind.LIST, [0, 1, 2, 3, 4]),
    "bools": (Kind.BOOL, [1, 0, 1, 1, 0]),
    "times": (Kind.TIME, [1, 1 << 41, 77, 5, -5]),
    "prices": (Kind.FLOAT, raw(12.95, 0.0, 199.99, 3.5, 7.0)),
    "refunds": (Kind.FLOAT, raw(-12.95, 0.25, -3.0, 3.5, 7.0)),
    "measured": (Kind.FLOAT, raw(0.1234567, 1e300, -0.0, 3.5, float("inf"))),
    "single": (Kind.FLOAT, raw(0.5, 2.0**-20, 1.5, 3.5, 2.0**100)),
}


def chunk(first: int, present: list[bool] | None) -> EventChunk:
    """Five events of as many rows with a column of every kind; `present` says where they have values."""
    held = None if present is None else np.array(present)
    columns = {
        (number, kind): narrow(kind, np.array(raws, np.int64), held)
        for number, (kind, raws) in enumerate(VALUES.values())
    }
    rows = np.arange(first, first + COUNT, dtype=np.uint32)
    return chunk_in_order(rows, np.arange(COUNT, dtype=np.int64) * 1000 + first * BUCKET_MS, columns)


@pytest.mark.parametrize("present", [None, [True, True, True, True, False], [False, True, True, True, True]])
def test_chunks_are_read_as_they_were_held(present: list[bool] | None) -> None:
    chunks = [chunk(0, None), chunk(70_000, present)]
    names, keys = {number: name for number, name in enumerate(VALUES)}, union_of_keys(chunks)
    table = from_parquet("file", to_parquet(chunk_table(chunks, keys, names)))
    columns = FileColumns.read(table, keys, names)
    for number, wanted in enumerate(chunks):
        own = tuple(column_entry(key, column) for key, column in wanted.columns.items())
        found = columns.chunk(ChunkEntry("file", number * COUNT, COUNT, own))
        assert found.full_rows().tolist() == wanted.full_rows().tolist()
        assert found.full_times().tolist() == wanted.full_times().tolist()
        for key, column in wanted.columns.items():
            read, name = found.columns[key], names[key[0]]
            same = (read.base, read.scale, read.low, read.high) == (column.base, column.scale, column.low, column.high)
            assert same and read.values.dtype == column.values.dtype, name
            assert read.values.tobytes() == column.values.tobytes(), name
            assert (read.present is None) == (column.present is None), name
            if read.present is not None and column.present is not None:
                assert read.present.tobytes() == column.present.tobytes(), name


def test_a_column_that_some_chunks_lack_is_null_there() -> None:
    full, bare = chunk(0, None), chunk_in_order(np.array([9], np.uint32), np.array([5], np.int64), {})
    table = chunk_table([bare, full], union_of_keys([full]), {number: name for number, name in enumerate(VALUES)})
    assert table.column("prices:float").to_pylist() == [None, 12.95, 0.0, 199.99, 3.5, 7.0]
    assert table.column("negative:int").to_pylist() == [None, -3, -200, 0, 5, 9]
    assert table.schema.field("negative:int").type == pa.int32()
    assert table.schema.field("wide:int").type == pa.int64()


def test_columns_without_nulls_are_marked_and_read_like_others() -> None:
    table = pa.table({"row": pa.array([1, 2], pa.uint32()), "a:int": pa.array([None, 5], pa.int32())})
    marked = from_parquet("file", to_parquet(without_levels(table)))
    assert [field.nullable for field in marked.schema] == [False, True]
    assert marked.to_pydict() == table.to_pydict() == from_parquet("file", to_parquet(table)).to_pydict()
