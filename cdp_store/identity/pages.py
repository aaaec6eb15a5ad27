"""All records of one profile in order of time, in pages of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_store.arrays import I64
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import PAGE_BYTES, PAGE_RECORDS, TIME_MIN_MS
from cdp_store.memory.contents import (
    batch_of_events,
    batch_of_versions,
    current_of,
    in_lower_case,
    joined_batches,
    record_sizes,
)
from cdp_store.memory.view import PartitionView, changed_to
from cdp_store.profiles.attributes import Versions
from cdp_store.records.records import RecordBatch

_RUNS_FIRST: Final = 16  # read for a page; twice as many each time they do not fill it


@dataclass(frozen=True, slots=True)
class Place:
    """End of a page: all records before `time_ms` were returned, and `given` of those at it."""

    time_ms: int = TIME_MIN_MS
    given: int = 0


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some records in order of time, and the start of the next page; None after the last page."""

    records: RecordBatch
    after: Place | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch of a chunk: events of a name or changes of an attribute."""

    number: int
    chunk: EventChunk
    where: slice
    row: int
    is_attribute: bool

    def __len__(self) -> int:
        return int(self.where.stop - self.where.start)

    def times(self, part: slice) -> I64:
        start = self.where.start
        own = self.chunk.times[start + part.start : start + part.stop]
        times: I64 = own.astype(np.int64) + self.chunk.base_ms
        return times

    def batch(self, view: PartitionView, part: slice) -> RecordBatch:
        at: I64 = np.arange(self.where.start + part.start, self.where.start + part.stop)
        if not self.is_attribute:
            return batch_of_events(view, self.number, self.chunk, at)
        kinds, raws = changed_to(self.chunk, at)
        versions = Versions(np.full(at.shape[0], self.row, np.uint32), self.times(part), kinds, raws)
        return batch_of_versions(view, self.number, versions)


@dataclass(frozen=True, slots=True)
class _Current:
    """The current value of an attribute."""

    number: int
    versions: Versions

    def __len__(self) -> int:
        return len(self.versions)

    def times(self, part: slice) -> I64:
        times: I64 = self.versions.times[part]
        return times

    def batch(self, view: PartitionView, part: slice) -> RecordBatch:
        return batch_of_versions(view, self.number, self.versions.take(np.arange(part.start, part.stop)))


@dataclass(frozen=True, slots=True)
class _Rest:
    """The rest of a run after a place."""

    run: _Stretch | _Current
    start: int
    first_ms: int

    def count_before(self, time_ms: int | None) -> int:
        """Number of remaining records before an instant."""
        if time_ms is None:
            return len(self.run) - self.start
        return _count_before(self.run, time_ms) - self.start


def read_records(
    view: PartitionView,
    row: int,
    after: Place | None = None,
    records_max: int = PAGE_RECORDS,
    bytes_max: int = PAGE_BYTES,
) -> RecordPage:
    """A page of a profile's contents: its events, and a record for every value its attributes ever had.

    Equal times keep their order of arrival; names are in the partition's order. A page ends between two instants
    unless one of them fills it. It has at least one record, of any size.
    """
    place = after or Place()
    rests, horizon = _enough(_rests(view, row, place.time_ms), place.given + records_max)
    most = place.given + records_max + 1  # one more shows whether there is another page
    parts = [(rest, min(rest.count_before(horizon), most)) for rest in rests]
    times = [rest.run.times(slice(rest.start, rest.start + count)) for rest, count in parts]
    flat = np.concatenate([np.zeros(0, np.int64), *times])
    order = np.argsort(flat, kind="stable")
    skipped = min(place.given, int(np.searchsorted(flat[order], place.time_ms, "right")))
    chosen = np.sort(order[skipped : skipped + records_max])
    batches = list(_batches(view, parts, chosen))
    if not batches:
        return RecordPage(batch_of_versions(view, 0, Versions.join([])), None)
    batch = in_lower_case(joined_batches(batches))
    batch = batch.take(np.argsort(batch.record_times, kind="stable"))
    is_all = horizon is None and skipped + len(batch) == flat.shape[0]
    return _cut(batch, place, bytes_max, is_all=is_all)


def count_records(view: PartitionView, row: int) -> tuple[int, int]:
    """(events, values that attributes had) of a profile."""
    events = changes = 0
    for run in _runs(view, row):
        if isinstance(run, _Stretch) and not run.is_attribute:
            events += len(run)
        else:
            changes += len(run)
    return events, changes


def _rests(view: PartitionView, row: int, time_ms: int) -> list[_Rest]:
    rests = list[_Rest]()
    for run in _runs(view, row):
        start = _count_before(run, time_ms)
        if start < len(run):
            rests.append(_Rest(run, start, int(run.times(slice(start, start + 1))[0])))
    return rests


def _runs(view: PartitionView, row: int) -> Iterator[_Stretch | _Current]:
    for name in range(len(view.schema.events)):
        yield from _stretches(view.event_chunks(name), name, row, is_attribute=False)
    for attribute in sorted(view.attributes):
        yield from _stretches(view.changes.pieces(attribute), attribute, row, is_attribute=True)
        yield _Current(attribute, current_of(view, attribute, np.array([row], np.int64)))


def _stretches(chunks: Sequence[EventChunk], number: int, row: int, *, is_attribute: bool) -> Iterator[_Stretch]:
    for chunk in chunks:
        where = chunk.events_of_row(row)
        if where.stop > where.start:
            yield _Stretch(number, chunk, where, row, is_attribute)


def _count_before(run: _Stretch | _Current, time_ms: int) -> int:
    if isinstance(run, _Current):
        return int(np.searchsorted(run.versions.times, time_ms))
    own, local = run.chunk.times[run.where], max(time_ms - run.chunk.base_ms, 0)
    if local > own[-1]:
        return len(run)
    return int(np.searchsorted(own, own.dtype.type(local)))  # of the same type, otherwise all times are converted


def _enough(rests: list[_Rest], wanted: int) -> tuple[list[_Rest], int | None]:
    """The rests that hold the first `wanted` records, in their order, and the instant up to which they are complete,
    None if they hold everything."""
    by_time = sorted(range(len(rests)), key=lambda at: rests[at].first_ms)
    count = _RUNS_FIRST
    while count < len(rests):
        horizon = rests[by_time[count]].first_ms
        if sum(rests[at].count_before(horizon) for at in by_time[:count]) >= wanted:
            return [rests[at] for at in sorted(by_time[:count])], horizon
        count *= 2
    return rests, None


def _batches(view: PartitionView, parts: Sequence[tuple[_Rest, int]], chosen: I64) -> Iterator[RecordBatch]:
    """Records at ascending positions of the parts, counted through; a part's are its first ones."""
    starts = np.cumsum([0, *(count for _, count in parts)])
    bounds = np.searchsorted(chosen, starts)
    for number, (rest, _) in enumerate(parts):
        taken = chosen[bounds[number] : bounds[number + 1]] - starts[number]
        if taken.shape[0]:
            first = rest.start + int(taken[0])
            yield rest.run.batch(view, slice(first, first + taken.shape[0]))


def _cut(batch: RecordBatch, place: Place, bytes_max: int, *, is_all: bool) -> RecordPage:
    """The first records of a batch in order of time that fit, cut between two instants if possible."""
    count, times = len(batch), batch.record_times
    fitting = int(np.searchsorted(np.cumsum(record_sizes(batch)), bytes_max, "right"))
    kept = min(count, max(fitting, 1))
    if kept == count and is_all:
        return RecordPage(batch, None)
    border = int(np.searchsorted(times, times[kept - 1]))
    is_split = kept == count or times[kept] == times[kept - 1]
    kept = border if is_split and border else kept
    last = int(times[kept - 1])
    given = kept - int(np.searchsorted(times, last)) + (place.given if last == place.time_ms else 0)
    return RecordPage(batch.take(np.arange(kept)), Place(last, given))
