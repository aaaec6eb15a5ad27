"""All contents of a partition as records, in portions: memory use does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdp_store.arrays import I64, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import PAGE_BYTES, PAGE_RECORDS, TIME_MAX_MS
from cdp_store.memory.contents import (
    batch_of_events,
    batch_of_versions,
    creations_of,
    in_lower_case,
)
from cdp_store.memory.view import PartitionView
from cdp_store.records.records import RecordBatch
from cdp_store.values import TEXT_KINDS, Kind


def profiles_of(view: PartitionView) -> Iterator[RecordBatch]:
    """A record without values for each profile, at its time of creation."""
    for rows in _pages(np.flatnonzero(view.created_by(TIME_MAX_MS))):
        yield in_lower_case(creations_of(view, rows))


def attributes_of(view: PartitionView) -> Iterator[RecordBatch]:
    """A record for every value an attribute ever had, removals included; those of one time in order of arrival, and
    those of an object before those of its parts, which it would unset."""
    exists = view.created_by(TIME_MAX_MS)
    names = {number: name for name, number in view.schema.attributes.items()}
    for attribute in sorted(view.attributes, key=names.__getitem__):
        versions = view.attribute_versions(attribute)
        for page in _pages(np.flatnonzero(exists[versions.rows])):
            sizes: I64 = np.zeros(page.shape[0], np.int64)
            for kind in TEXT_KINDS:
                own = versions.kinds[page] == kind
                sizes[own] = _lengths(view, attribute, kind, versions.raws[page][own], is_attribute=True)
            for at in _light(page, sizes):
                yield in_lower_case(batch_of_versions(view, attribute, versions.take(at)))


def events_of(view: PartitionView) -> Iterator[RecordBatch]:
    """All events, name by name; those of a profile with one name and time in order of arrival."""
    exists = view.created_by(TIME_MAX_MS)
    for name in range(len(view.schema.events)):
        for chunk in view.event_chunks(name):
            for page in _pages(_of_rows(chunk, exists)):
                for at in _light(page, _text_sizes(view, chunk, page)):
                    yield in_lower_case(batch_of_events(view, name, chunk, at))


def dropped_of(view: PartitionView) -> int:
    """Number of events that retention has dropped and whose counts are kept."""
    return sum(int(summary.counts.sum()) for summary in view.summaries.values())


def _of_rows(chunk: EventChunk, wanted: Bools) -> I64:
    """Positions of the events of rows in a chunk, ascending."""
    of_runs = wanted[chunk.full_run_rows()]
    if of_runs.all():
        return np.arange(len(chunk), dtype=np.int64)
    return np.flatnonzero(np.repeat(of_runs, np.diff(chunk.run_starts)))


def _pages(at: I64) -> Iterator[I64]:
    for start in range(0, at.shape[0], PAGE_RECORDS):
        yield at[start : start + PAGE_RECORDS]


def _light(page: I64, sizes: I64) -> Iterator[I64]:
    """The page in parts with texts of a bounded size, but for one larger record."""
    part = np.cumsum(sizes) // PAGE_BYTES
    yield from np.split(page, np.flatnonzero(np.diff(part)) + 1)


def _text_sizes(view: PartitionView, chunk: EventChunk, at: I64) -> I64:
    """Bytes of the texts of some events: i64[n]."""
    sizes: I64 = np.zeros(at.shape[0], np.int64)
    for (key, kind), column in chunk.columns.items():
        if kind in TEXT_KINDS:
            taken = column.take(at)
            presence = taken.presence()
            given = slice(None) if presence is None else presence
            sizes[given] += _lengths(view, key, kind, taken.raws()[given], is_attribute=False)
    return sizes


def _lengths(view: PartitionView, key: int, kind: Kind, codes: I64, *, is_attribute: bool) -> I64:
    offsets, _ = view.string_arena(key, attribute=is_attribute, is_list=kind is Kind.LIST)
    lengths: I64 = offsets[codes + 1].astype(np.int64) - offsets[codes]
    return lengths
