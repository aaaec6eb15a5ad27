"""A partition's contents as record batches again, for another number of partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.events.chunk import EventChunk
from cdp_store.events.layout import LAYOUT
from cdp_store.kernels import strings as string_kernels
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.values import TEXT_KINDS, Kind

_RECORDS_MAX: Final = 1 << 16  # of one batch


def batches_of(view: PartitionView) -> Iterator[RecordBatch]:
    """Batches that add up to the content of a view when applied; equal times keep their order of arrival."""
    yield from _creations(view)
    names = tuple(view.schema.events)
    properties = tuple(view.schema.properties)
    for number in range(len(names)):
        for chunk in view.event_chunks(number):
            yield from _records(view, chunk, number, names, properties, None)
    attributes = tuple(view.schema.attributes)
    for number in sorted(view.attributes):
        for chunk in view.attribute_chunks(number, LAYOUT):
            yield from _records(view, chunk, ATTRIBUTES, (), attributes, number)


def _creations(view: PartitionView) -> Iterator[RecordBatch]:
    """A record without values for each profile, at the time it was created."""
    created = view.times.created_ms()
    rows = np.flatnonzero(created != NOT_CREATED)
    for start in range(0, rows.shape[0], _RECORDS_MAX):
        part = rows[start : start + _RECORDS_MAX].astype(np.uint32)
        nothing: I64 = np.zeros(0, np.int64)
        no_values = RecordValues(nothing, nothing, nothing, nothing, Strings.of(()))
        yield batch_of_values(view, part, created[part], ATTRIBUTES, no_values, (), ())


class RecordValues:
    """Values of some records: owner (position among them), key, kind and raw i64[m], strings."""

    def __init__(self, owners: I64, keys: I64, kinds: I64, raws: I64, strings: Strings) -> None:
        order = np.argsort(owners, kind="stable")
        self.owners = owners[order]
        self.keys: U16 = keys[order].astype(np.uint16)
        self.kinds: U8 = kinds[order].astype(np.uint8)
        self.raws = raws[order]
        self.strings = strings


def _records(
    view: PartitionView,
    chunk: EventChunk,
    name: int,
    names: tuple[str, ...],
    keys: tuple[str, ...],
    attribute: int | None,
) -> Iterator[RecordBatch]:
    rows, times = chunk.full_rows(), chunk.full_times()
    columns = {key: (column.raws(), column.presence()) for key, column in chunk.columns.items()}
    for start in range(0, len(chunk), _RECORDS_MAX):
        part = slice(start, min(start + _RECORDS_MAX, len(chunk)))
        values = values_of(view, columns, part, attribute)
        yield batch_of_values(view, rows[part], times[part], name, values, names, keys)


def values_of(
    view: PartitionView,
    columns: Mapping[tuple[int, Kind], tuple[I64, AnyArray | None]],
    part: slice,
    attribute: int | None,
) -> RecordValues:
    """The values in `part` of columns (raws, presence or None), as those of records; of an attribute, also removals."""
    count = part.stop - part.start
    owners, keys, kinds, raws = list[I64](), list[I64](), list[I64](), list[I64]()
    texts, text_count = list[Strings](), 0
    given_any = np.zeros(count, np.bool_)
    for (key, kind), (values, present) in columns.items():
        owner = key if attribute is None else attribute
        given = np.flatnonzero(np.ones(count, np.bool_) if present is None else present[part]).astype(np.int64)
        own = values[part][given]
        given_any[given] = True
        if kind in TEXT_KINDS:
            distinct, index = np.unique(own, return_inverse=True)
            arena = view.string_arena(owner, attribute=attribute is not None, is_list=kind is Kind.LIST)
            texts.append(_gathered(arena, distinct))
            own = index.astype(np.int64) + text_count
            text_count += distinct.shape[0]
        _extend((owners, keys, kinds, raws), given, owner, kind, own)
    if attribute is not None:
        # A change without a value is a removal.
        gone = np.flatnonzero(~given_any).astype(np.int64)
        _extend((owners, keys, kinds, raws), gone, attribute, Kind.UNSET, np.zeros(gone.shape[0], np.int64))
    nothing: I64 = np.zeros(0, np.int64)
    owner_array, key_array, kind_array, raw_array = (
        np.concatenate([nothing, *parts]) for parts in (owners, keys, kinds, raws)
    )
    return RecordValues(owner_array, key_array, kind_array, raw_array, _joined(texts))


def _extend(into: tuple[list[I64], ...], owners: I64, key: int, kind: Kind, raws: I64) -> None:
    count = owners.shape[0]
    for column, values in zip(into, (owners, np.full(count, key), np.full(count, int(kind)), raws), strict=True):
        column.append(values)


def batch_of_values(
    view: PartitionView,
    rows: U32,
    times: I64,
    name: int,
    values: RecordValues,
    names: tuple[str, ...],
    keys: tuple[str, ...],
) -> RecordBatch:
    """Records of rows at times with their values, all under one name number."""
    distinct, index = np.unique(rows, return_inverse=True)
    count = rows.shape[0]
    offsets: U32 = np.searchsorted(values.owners, np.arange(count + 1)).astype(np.uint32)
    return RecordBatch(
        b"",
        0,
        _gathered(view.identifiers, distinct.astype(np.int64)),
        index.astype(np.uint32),
        np.full(count, name, np.uint16),
        times,
        offsets,
        Strings(np.zeros(count + 1, np.uint32), np.zeros(0, np.uint8)),
        values.keys,
        values.kinds,
        values.raws,
        values.strings,
        names,
        keys,
    )


def _gathered(arena: tuple[AnyArray, U8], entries: I64) -> Strings:
    """Some strings of an arena."""
    offsets, data = string_kernels.gather(*arena, entries)
    return Strings(offsets.astype(np.uint32), data)


def _joined(tables: list[Strings]) -> Strings:
    sizes = np.concatenate([np.zeros(1, np.int64), *(np.diff(table.offsets).astype(np.int64) for table in tables)])
    data = np.concatenate([np.zeros(0, np.uint8), *(table.data for table in tables)])
    return Strings(np.cumsum(sizes).astype(np.uint32), data)
