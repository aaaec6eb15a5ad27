"""Every rule that a partition's structures keep, checked in full and against each other.

Stateful tests end with it. It reads everything once, vectorised, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.events.chunk import EventChunk
from cdp_store.events.delta import DeltaReading
from cdp_store.events.event_tables import EventsReading, EventTables
from cdp_store.events.retained import Summary
from cdp_store.ids import IDENTIFIER_TAGS
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.memory import PartitionMemory
from cdp_store.memory.validate_chunk import check_chunk, require
from cdp_store.memory.view import CHANGE_VALUE, PartitionView
from cdp_store.profiles.attributes import AttributeBlock, AttributeReading, current_versions
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.values import TEXT_KINDS, Kind


def validate(memory: PartitionMemory) -> None:
    """Raises StructureBroken, naming the structure, unless every rule holds; no writes may happen meanwhile."""
    view = memory.capture()
    _check_names(view)
    _check_identifiers(memory, view)
    created = _check_created(view)
    events = _Table("events", memory.events, view.events, len(view.schema.events), attribute=False)
    history = _Table("history", memory.changes, view.changes, len(view.schema.attributes), attribute=True)
    for table in (events, history):
        _check_table(table, view, created)
    for number, summary in view.summaries.items():
        _check_summary(f"summary of events {number}", summary, created)
    for number, reading in view.attributes.items():
        _check_attribute(view, number, reading, created)


@dataclass(frozen=True, slots=True)
class _Table:
    what: str
    tables: EventTables
    reading: EventsReading
    name_count: int
    attribute: bool


def _check_names(view: PartitionView) -> None:
    for what in ("events", "properties", "attributes"):
        numbers = sorted(getattr(view.schema, what).values())
        require(numbers == list(range(len(numbers))), f"names of {what}", "the numbers are not dense")


def _check_identifiers(memory: PartitionMemory, view: PartitionView) -> None:
    count, what = view.row_count, "identifiers"
    starts, held = view.identifiers
    require(starts.shape[0] == count + 1, what, "the offsets differ in number from the rows")
    require(int(starts[-1]) == held.shape[0], what, "the offsets do not end where the bytes do")
    offsets, data = view.gather_identifiers(np.arange(count, dtype=np.int64))
    texts = [data[start:stop].tobytes() for start, stop in pairwise(offsets)]
    underway = set(memory.in_transit.values())
    require(all(texts[row][:1].isupper() for row in underway), what, "a profile on its way is still looked up")
    live = [row for row in np.flatnonzero(~view.erased()).tolist() if row not in underway]
    require(all(texts[row][:1] in IDENTIFIER_TAGS for row in live), what, "an identifier has no known kind")
    require(memory.find([texts[row] for row in live]) == live, what, "an identifier does not lead to its row")
    erased = np.flatnonzero(view.erased()).tolist()
    require(all(not any(texts[row]) for row in erased), what, "an erased profile has an identifier")
    require(len(erased) == memory.erased_count, what, f"{len(erased)} rows are erased, not {memory.erased_count}")


def _check_created(view: PartitionView) -> I64:
    created = view.times.created_ms()
    require(created.shape[0] == view.row_count, "times", "the times differ in number from the rows")
    require(bool(np.all((created >= TIME_MIN_MS) & (created <= NOT_CREATED))), "times", "a time beyond the calendar")
    for number, morsel in enumerate(view.times.morsels):
        what, own = f"times of morsel {number}", morsel.created_ms()
        living = own != NOT_CREATED
        early = (own > morsel.first_set_ms()) & living
        require(not early.any(), what, "attributes set before their profile was created")
        require(int(own.max()) <= morsel.latest_created_ms, what, "a creation later than the latest")
        if morsel.created is not None:
            rows, _ = morsel.created.given()
            require(bool(np.all(np.diff(rows) > 0)), what, "the rows with times of their own do not ascend")
    return created


def _check_table(table: _Table, view: PartitionView, created: I64) -> None:
    codes = _CodeCounts(view, table.attribute, {})
    names = set(table.reading.sealed)
    require(all(0 <= name < table.name_count for name in names), table.what, "chunks under an unknown name")
    for name, chunks in table.reading.sealed.items():
        what = f"chunks of {table.what} {name}"
        require(len(chunks) > 0, what, "an empty list of chunks")
        for chunk in chunks:
            check_chunk(what, chunk)
            _check_rows(what, chunk.full_rows().astype(np.int64), chunk.full_times(), created)
            for (key, kind), column in chunk.columns.items():
                _check_codes(f"{what}, column {key}", table, codes.limit(name, key, kind), key, column)
            _check_one_kind_each(what, chunk)
    _check_delta(table, view, created, codes)
    events, size = table.tables.counts()
    held = sum(len(chunk) for chunks in table.reading.sealed.values() for chunk in chunks) + len(table.reading.delta)
    require(events == held, table.what, f"{events} events are counted and {held} are held")
    require(size >= _chunk_bytes(table.reading.sealed), table.what, "the bytes are under-counted")


def _chunk_bytes(sealed: Mapping[int, tuple[EventChunk, ...]]) -> int:
    return sum(chunk.nbytes for chunks in sealed.values() for chunk in chunks)


def _check_rows(what: str, rows: I64, times: I64, created: I64) -> None:
    if rows.size:
        require(int(rows.max()) < created.shape[0], what, "an event of a row that does not exist")
        known = created[rows] != NOT_CREATED
        require(bool(np.all(times[known] >= created[rows][known])), what, "an event before its profile was created")
        require(int(times.max()) <= TIME_MAX_MS, what, "an event after the year 9999")


@dataclass(frozen=True, slots=True)
class _CodeCounts:
    """Number of dictionary codes of each property or attribute, computed once each."""

    view: PartitionView
    attribute: bool
    known: dict[tuple[int, Kind], int]

    def limit(self, name: int, key: int, kind: Kind) -> int | None:
        """The first code that does not exist, or None if the kind has no codes."""
        if kind not in TEXT_KINDS:
            return None
        owner = name if self.attribute else key
        if (owner, kind) not in self.known:
            strings = self.view.strings(owner, attribute=self.attribute, is_list=kind is Kind.LIST)
            self.known[owner, kind] = len(strings)
        return self.known[owner, kind]


def _check_summary(what: str, summary: Summary, created: I64) -> None:
    rows = summary.rows.astype(np.int64)
    sizes = {part.shape[0] for part in (summary.counts, summary.first_ms, summary.last_ms)}
    require(sizes == {rows.shape[0]}, what, "its columns differ in length")
    require(bool(np.all(np.diff(rows) > 0)), what, "the rows do not ascend")
    _check_rows(what, rows, summary.first_ms, created)
    times = (summary.first_ms <= summary.last_ms) & (summary.last_ms < summary.cutoff_ms)
    require(bool(np.all(times)), what, "a first or last time out of order")
    require(bool(np.all(summary.counts > 0)), what, "a profile without events")


def _check_codes(what: str, table: _Table, limit: int | None, key: int, column: EventColumn) -> None:
    if table.attribute:
        require(key == CHANGE_VALUE, what, "a change holds something else than its value")
    if limit is not None:
        presence, codes = column.presence(), column.integers()
        given = codes if presence is None else codes[presence]
        inside = int(given.min()) >= 0 and int(given.max()) < limit
        require(inside, what, f"a code outside of its dictionary of {limit}")


def _check_one_kind_each(what: str, chunk: EventChunk) -> None:
    """Checks that no event holds two kinds of one property."""
    seen = dict[int, npt.NDArray[np.uint8]]()
    for (key, _), column in chunk.columns.items():
        presence = column.presence()
        counts = seen.setdefault(key, np.zeros(len(chunk), np.uint8))
        counts += np.uint8(1) if presence is None else presence
    require(all(counts.max() <= 1 for counts in seen.values()), what, "an event with two kinds of one property")


def _check_delta(table: _Table, view: PartitionView, created: I64, codes: _CodeCounts) -> None:
    delta, what = table.reading.delta, f"delta of {table.what}"
    _check_delta_lengths(what, delta)
    if not len(delta):
        return
    require(int(delta.names.max()) < table.name_count, what, "an event of an unknown name")
    _check_rows(what, delta.rows.astype(np.int64), delta.times, created)
    _check_sorted_names(what, delta)
    require(bool(np.all((delta.kinds > Kind.UNSET) & (delta.kinds <= max(Kind)))), what, "a value of an unknown kind")
    bound = CHANGE_VALUE + 1 if table.attribute else len(view.schema.properties)
    require(not delta.keys.size or int(delta.keys.max()) < bound, what, "a value under an unknown property")
    owners = np.repeat(delta.names, np.diff(delta.ends, prepend=0))
    triples = np.stack([owners, delta.keys, delta.kinds], axis=1)
    for name, key, kind in np.unique(triples, axis=0).tolist():
        limit = codes.limit(name, key, Kind(kind))
        raws = delta.raws[(triples == (name, key, kind)).all(axis=1)]
        inside = limit is None or (int(raws.min()) >= 0 and int(raws.max()) < limit)
        require(inside, what, f"a code outside of its dictionary of {limit}")


def _check_delta_lengths(what: str, delta: DeltaReading) -> None:
    events = (delta.names.shape[0], delta.times.shape[0], delta.ends.shape[0])
    require(events == (len(delta),) * 3, what, "the columns of events differ in length")
    ends: I64 = np.append(0, delta.ends)
    require(bool(np.all(np.diff(ends) >= 0)), what, "the ends of the values do not ascend")
    triples = (delta.keys.shape[0], delta.kinds.shape[0], delta.raws.shape[0])
    require(triples == (int(ends[-1]),) * 3, what, "the columns of values differ in length")


def _check_sorted_names(what: str, delta: DeltaReading) -> None:
    """Checks that chunks kept for queries hold the events they were sorted from."""
    sorted_names = [(name, 0, *kept) for name, kept in delta.delta.sorted_names.items()]
    sorted_names += [(name, 0, *kept) for name, kept in delta.delta.sealed_names.items()]
    sorted_names += [(name, *kept) for name, kept in delta.delta.sorted_tails.items()]
    for name, first, count, chunks in sorted_names:
        expected = int(np.count_nonzero(delta.names[first:count] == name))
        require(sum(map(len, chunks)) == expected, what, f"the sorted events of name {name} are stale")


def _check_attribute(view: PartitionView, number: int, reading: AttributeReading, created: I64) -> None:
    """Checks that current values are in their columns and dictionaries, and none is older than its row's history."""
    what, codes = f"attribute {number}", _CodeCounts(view, True, {})
    for morsel, block in enumerate(reading.blocks):
        if block is not None:
            _check_block(f"{what}, morsel {morsel}", number, block, codes)
    versions = view.attribute_versions(number)
    _check_rows(what, versions.rows.astype(np.int64), versions.times, created)
    current = current_versions(reading, (morsel.first_set_ms() for morsel in view.times.morsels))
    last = np.append(versions.rows[1:] != versions.rows[:-1], True) if len(versions) else np.zeros(0, np.bool_)
    latest = versions.take(last)
    for name in ("rows", "times", "kinds", "raws"):
        same = np.array_equal(getattr(latest, name), getattr(current, name))
        require(same, what, f"the {name} of the current values are not the last of the history")
    newest = int(versions.times.max()) if len(versions) else reading.latest_ms
    require(newest <= reading.latest_ms, what, "a change later than the latest")


def _check_block(what: str, number: int, block: AttributeBlock, codes: _CodeCounts) -> None:
    held: npt.NDArray[np.uint8] = np.zeros(block.rows, np.uint8)
    for kind, column in block.columns.items():
        require(column.kind is kind, what, f"{column.kind.name} values under {kind.name}")
        require(column.values.shape[0] <= block.rows, what, "values beyond the last row")
        presence = column.presence()
        given: Bools = np.ones(column.values.shape[0], np.bool_) if presence is None else presence
        require(presence is None or not given.all(), what, "a presence that says nothing")
        require(bool(given.any()), what, f"a column of no {kind.name} value")
        held[: given.shape[0]] += given
        bounds = (column.values[given].min(), column.values[given].max())
        require(bool(column.low <= bounds[0] and bounds[1] <= column.high), what, f"the bounds do not hold {bounds}")
        limit = codes.limit(number, CHANGE_VALUE, kind)
        inside = limit is None or int(column.integers()[given].max()) < limit
        require(inside, what, f"a code outside of its dictionary of {limit}")
    require(not held.size or int(held.max()) <= 1, what, "a row with values of two kinds")
