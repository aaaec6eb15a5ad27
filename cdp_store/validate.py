"""Every rule that a partition's structures keep, checked in full and against each other.

Tests run it at the end of whatever they did to a partition. It reads everything once, vectorised, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, Bools
from cdp_store.attributes import AttributeReading
from cdp_store.blocks import Blocks, join_blocks
from cdp_store.events.chunk import EventChunk
from cdp_store.events.column import EventColumn
from cdp_store.events.delta import DeltaReading
from cdp_store.events.retained import Summary
from cdp_store.events.tables import EventsReading, EventTables
from cdp_store.ids import IDENTIFIER_TAGS
from cdp_store.limits import MORSEL_BITS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory import PartitionMemory
from cdp_store.validate_chunk import check_chunk, require
from cdp_store.values import TEXT_KINDS, Kind
from cdp_store.view import CHANGE_VALUE, NOT_CREATED, PartitionView


def validate(memory: PartitionMemory) -> None:
    """Raise StructureBroken, naming the structure, unless every rule holds; nobody may write meanwhile."""
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
        _check_attribute(view, number, reading)


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
    live = np.flatnonzero(~view.erased()).tolist()
    require(all(texts[row][:1] in IDENTIFIER_TAGS for row in live), what, "an identifier has no known kind")
    require(memory.find([texts[row] for row in live]) == live, what, "an identifier does not lead to its row")
    erased = np.flatnonzero(view.erased()).tolist()
    require(all(not any(texts[row]) for row in erased), what, "an erased profile has an identifier")
    require(len(erased) == memory.erased_count, what, f"{len(erased)} rows are erased, not {memory.erased_count}")


def _check_created(view: PartitionView) -> I64:
    created = join_blocks(view.created, view.row_count, NOT_CREATED, np.int64)
    require(bool(np.all((created >= TIME_MIN_MS) & (created <= NOT_CREATED))), "created", "a time beyond the calendar")
    beyond = _beyond(view.created, view.row_count, NOT_CREATED)
    require(not beyond, "created", "a row beyond the last one was created")
    return created


def _beyond(blocks: Blocks, rows: int, fill: int) -> bool:
    """Whether a block holds anything but `fill` past the last row."""
    starts = (max(rows - (morsel << MORSEL_BITS), 0) for morsel in range(len(blocks)))
    tails = (block[start:] for block, start in zip(blocks, starts, strict=True) if block is not None)
    return any(bool(np.any(tail != fill)) for tail in tails)


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
    """How many dictionary codes a property or attribute has, asked once each."""

    view: PartitionView
    attribute: bool
    known: dict[tuple[int, Kind], int]

    def limit(self, name: int, key: int, kind: Kind) -> int | None:
        """The first code that does not exist, or None where the kind has no codes."""
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
    """No event holds two kinds of one property."""
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
    """Chunks kept for queries hold the events they were sorted from."""
    for name, (count, chunks) in delta.delta.sorted_names.items():
        expected = int(np.count_nonzero(delta.names[:count] == name))
        require(sum(map(len, chunks)) == expected, what, f"the sorted events of name {name} are stale")


def _check_attribute(view: PartitionView, number: int, reading: AttributeReading) -> None:
    """The current values lie in their columns and dictionaries, and are the last of the history."""
    what, rows = f"attribute {number}", view.row_count
    kinds = join_blocks(reading.kinds, rows, Kind.UNSET, np.uint8)
    require(not _beyond(reading.kinds, rows, Kind.UNSET), what, "a value beyond the last row")
    require(not kinds.size or int(kinds.max()) <= max(Kind), what, "a value of an unknown kind")
    past = view.attribute_from_history(number, TIME_MAX_MS)
    require(np.array_equal(past.kinds, kinds), what, "the kinds differ from the history")
    codes = _CodeCounts(view, True, {})
    for kind in Kind:
        held: Bools = kinds == kind
        if kind is Kind.UNSET or not held.any():
            continue
        raws = _raws(what, kind, reading.values.get(kind, ()), held)
        require(np.array_equal(raws, past.raws[kind][held]), what, f"{kind.name} values differ from the history")
        limit = codes.limit(number, CHANGE_VALUE, kind)
        inside = limit is None or (int(raws.min()) >= 0 and int(raws.max()) < limit)
        require(inside, what, f"a code outside of its dictionary of {limit}")


def _raws(what: str, kind: Kind, blocks: Blocks, held: Bools) -> I64:
    """The values of the held rows in the form of values.py."""
    for morsel, rows in enumerate(range(0, held.shape[0], 1 << MORSEL_BITS)):
        wanted = np.flatnonzero(held[rows : rows + (1 << MORSEL_BITS)])
        block = blocks[morsel] if morsel < len(blocks) else None
        room = 0 if block is None else block.shape[0]
        require(not wanted.size or int(wanted[-1]) < room, what, f"a {kind.name} value without its place")
    dtype: npt.DTypeLike = np.float64 if kind is Kind.FLOAT else np.int64
    values: npt.NDArray[Any] = join_blocks(blocks, held.shape[0], 0, dtype)[held]
    return values.view(np.int64) if kind is Kind.FLOAT else values
