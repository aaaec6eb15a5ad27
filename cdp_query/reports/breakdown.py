"""Counts of members by the value of an attribute."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Final

import numpy as np

from cdp_query.compiled.descriptors import column_table
from cdp_query.compiled.kernels.layout import BLOCK_ROWS
from cdp_query.compiled.kernels.value_counts import count_values
from cdp_query.reports.value_keys import EMPTY_LIST_KEY, NONE_KEY, ValueKey, item_key, number_key
from cdp_query.scan.attribute_scan import blocks
from cdp_store.arrays import I64, U32, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.ids import AttributeId
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind, float_bits, to_datetime, unpack_list

_COUNTED_BY_PLACE: Final = 2  # width in bytes of a value


def breakdown(view: PartitionView, members: Bools, attribute: AttributeId | None, instant_ms: int) -> Counter[ValueKey]:
    """Members by value at an instant.

    A member with a list counts once per different item; without a value, as "(none)". 1 and 1.0 are one value. So the
    count of a single value v is that of the segment `attribute = v`.
    """
    counts, raws = Counter[ValueKey](), defaultdict[Kind, Counter[int]](Counter)
    unplaced = int(np.count_nonzero(members))
    for first, block in blocks(view, attribute, instant_ms):
        for kind, column in block.columns.items():
            found = _raw_counts(column, members[first : first + column.values.shape[0]])
            unplaced -= sum(found.values())
            raws[kind].update(found)
    if attribute is not None:
        for kind, found in raws.items():
            values: I64 = np.fromiter(found, np.int64, len(found))
            for keys, size in zip(keys_of(view, attribute, kind, values, attribute=True), found.values(), strict=True):
                for key in keys:
                    counts[key] += size
    if unplaced:
        counts[NONE_KEY] += unplaced
    return counts


def _raw_counts(column: EventColumn, members: Bools) -> dict[int, int]:
    """Members with each value, in 64-bit form; narrow integers are counted in an array, without sorting."""
    if column.values.itemsize <= _COUNTED_BY_PLACE and column.kind is not Kind.FLOAT:
        sizes: I64 = np.zeros(int(column.high) + 1, np.int64)
        rows: U32 = np.empty(BLOCK_ROWS, np.uint32)
        count_values(column_table(column)[0], members.view(np.uint8), rows, sizes)
        held = np.flatnonzero(sizes)
        return dict(zip((held + column.base).tolist(), sizes[held].tolist(), strict=True))
    presence = column.presence()
    chosen = members if presence is None else members & presence
    distinct, sizes = np.unique(replace(column, values=column.values[chosen], present=None).raws(), return_counts=True)
    return dict(zip(distinct.tolist(), sizes.tolist(), strict=True))


def keys_of(view: PartitionView, key: int, kind: Kind, raws: I64, *, attribute: bool) -> list[set[ValueKey]]:
    """Keys of each value of one kind, in 64-bit form: one, or one for each different item of a list."""
    match kind:
        case Kind.UNSET:
            return [{NONE_KEY} for _ in raws]
        case Kind.STRING:
            offsets, data = view.string_arena(key, attribute=attribute)
            texts, ends = data.data, zip(offsets[raws].tolist(), offsets[raws + 1].tolist(), strict=True)
            return [{(int(kind), str(texts[start:stop], "utf-8"))} for start, stop in ends]
        case Kind.LIST:
            packed = view.strings(key, attribute=attribute, is_list=True).take(raws)
            return [{item_key(item) for item in unpack_list(text.as_py())} or {EMPTY_LIST_KEY} for text in packed]
        case Kind.FLOAT:
            return [{number_key(value)} for value in float_bits(raws).tolist()]
        case Kind.BOOL:
            return [{(int(kind), bool(value))} for value in raws.tolist()]
        case Kind.TIME:
            return [{(int(kind), to_datetime(value).isoformat())} for value in raws.tolist()]
    return [{(int(kind), value)} for value in raws.tolist()]
