"""Counts of members by the value of an attribute."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, NamedTuple, cast

import numpy as np

from cdp_query.compiled.descriptors import address_of, attribute_rows
from cdp_query.compiled.kernels.layout import BLOCK_ROWS, COLUMN_FIELDS
from cdp_query.compiled.kernels.value_counts import COUNTED_FIELDS, count_values
from cdp_query.reports.value_keys import EMPTY_LIST_KEY, NONE_KEY, ValueKey, item_key, number_key
from cdp_query.scan.attribute_scan import blocks
from cdp_store.arrays import I64, U32, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind, float_bits, to_datetime, unpack_list

# (the values that a breakdown keeps, members with others).
Capped = Callable[[Mapping[ValueKey, int]], tuple[dict[ValueKey, int], int]]

_MANY_VALUES: Final = 1 << 16
_COUNTED_BY_PLACE: Final = 2  # width in bytes of a value
_COUNTED: Final = struct.Struct(f"={COUNTED_FIELDS}q")
_KEPT_STRINGS: Final = 256  # of an attribute: their keys are kept with the view


def breakdown(
    views: Sequence[PartitionView], masks: Sequence[Bools], name: str, instant_ms: int, capped: Capped
) -> tuple[dict[ValueKey, int], int]:
    """(members by value of an attribute at an instant, members with values beyond those that `capped` keeps).

    A member with a list counts once per different item; without a value, as "(none)". 1 and 1.0 are one value. So the
    count of a single value v is that of the segment `attribute = v`.
    """
    found, narrow = _Counts(capped), _NarrowColumns()
    for view, members in zip(views, masks, strict=True):
        number, wide = view.schema.attributes.get(name), defaultdict[Kind, Counter[int]](Counter)
        for first, block in blocks(view, number, instant_ms):
            for row, (kind, column) in zip(attribute_rows(block), block.columns.items(), strict=True):
                own = members[first : first + column.values.shape[0]]
                if column.values.itemsize <= _COUNTED_BY_PLACE and kind is not Kind.FLOAT:
                    narrow.add(_Held(view, cast(int, number), column), row, own)
                else:
                    wide[kind].update(_raw_counts(column, own))
        for kind, raws in wide.items():
            values: I64 = np.fromiter(raws, np.int64, len(raws))
            found.add(keys_of(view, cast(int, number), kind, values, attribute=True), raws.values())
    narrow.count(found)
    unplaced = sum([int(np.count_nonzero(members)) for members in masks]) - found.placed
    if unplaced:
        found.add_single([NONE_KEY], [unplaced])
    return found.kept()


@dataclass(slots=True)
class _Counts:
    """Members by value; where these become many, those that a breakdown does not keep are left out at once."""

    capped: Capped
    counts: dict[ValueKey, int] = field(default_factory=dict)
    placed: int = 0
    rest: int = 0

    def add(self, keys: Iterable[Iterable[ValueKey]], sizes: Collection[int]) -> None:
        """Counts so many members for each of their keys."""
        self.placed += sum(sizes)
        self._count((key, size) for own, size in zip(keys, sizes, strict=True) for key in own)

    def add_single(self, keys: Iterable[ValueKey], sizes: Collection[int]) -> None:
        """The same where members have one key each."""
        self.placed += sum(sizes)
        self._count(zip(keys, sizes, strict=True))

    def _count(self, pairs: Iterable[tuple[ValueKey, int]]) -> None:
        counts = self.counts
        for key, size in pairs:
            counts[key] = counts.get(key, 0) + size
        if len(counts) > _MANY_VALUES:
            self.counts, self.rest = self.kept()

    def kept(self) -> tuple[dict[ValueKey, int], int]:
        """(members by value, members with values beyond those that a breakdown keeps)."""
        kept, beyond = self.capped(self.counts)
        return kept, self.rest + beyond


class _Held(NamedTuple):
    """A column of one partition, and the number of its attribute there."""

    view: PartitionView
    number: int
    column: EventColumn


@dataclass(slots=True)
class _NarrowColumns:
    """Columns of narrow integers, of any partitions: their values are counted in one array, without sorting."""

    held: list[_Held] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    counted: list[bytes] = field(default_factory=list)
    firsts: list[int] = field(default_factory=lambda: [0])  # where each one's values are counted, and the end

    def add(self, held: _Held, row: bytes, members: Bools) -> None:
        """Adds a column; what its row and the members' address name must stay alive until all are counted."""
        self.held.append(held)
        self.rows.append(row)
        self.counted.append(_COUNTED.pack(address_of(members), members.shape[0], self.firsts[-1]))
        self.firsts.append(self.firsts[-1] + int(held.column.high) + 1)

    def count(self, found: _Counts) -> None:
        """Counts the members by value."""
        sizes: I64 = np.zeros(self.firsts[-1], np.int64)
        columns: I64 = np.frombuffer(bytearray().join(self.rows), np.int64).reshape(-1, COLUMN_FIELDS)
        counted: I64 = np.frombuffer(bytearray().join(self.counted), np.int64).reshape(-1, COUNTED_FIELDS)
        chosen: U32 = np.empty(BLOCK_ROWS, np.uint32)
        count_values(columns, counted, chosen, sizes)
        places = np.flatnonzero(sizes)
        members, bounds = sizes[places].tolist(), pairwise(np.searchsorted(places, self.firsts).tolist())
        for held, start, (begin, end) in zip(self.held, self.firsts, bounds, strict=False):
            if begin < end:
                raws, keys = (places[begin:end] - start) + held.column.base, _kept_keys(held)
                if keys:
                    found.add_single([keys[code] for code in raws.tolist()], members[begin:end])
                else:
                    own = keys_of(held.view, held.number, held.column.kind, raws, attribute=True)
                    found.add(own, members[begin:end])


def _kept_keys(held: _Held) -> Sequence[ValueKey]:
    """The keys of strings by code, kept with their view since a code stays what it is; none if they are many."""
    view, number, column = held
    if column.kind is not Kind.STRING:
        return ()
    name = ("keys", number)
    known = view.tables.get(name)
    if not isinstance(known, tuple):
        count = view.string_arena(number, attribute=True)[0].shape[0] - 1
        every: I64 = np.arange(count if count <= _KEPT_STRINGS else 0, dtype=np.int64)
        found = keys_of(view, number, column.kind, every, attribute=True)
        known = view.tables[name] = tuple(key for keys in found for key in keys)
    return known


def _raw_counts(column: EventColumn, members: Bools) -> dict[int, int]:
    """Members with each value, in 64-bit form."""
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
