"""A program's leaves and tests in each partition: what they read there, as rows of addresses."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Final

import numpy as np

from cdp_query.bind.bound_events import (
    BoundEvents,
    BoundFilter,
    BoundProperty,
    FilterAll,
    FilterAny,
    FilterNot,
    FilterUserWindow,
)
from cdp_query.bind.bound_profiles import FilterDistance
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.descriptors import (
    ChunkTable,
    address_of,
    mask_table,
    unsealed_fields,
)
from cdp_query.compiled.kernels.layout import (
    BOUND_FIELDS,
    COUNT_LEAF,
    LEAF_FIRST_MS,
    LEAF_KIND,
    LEAF_LAST_MS,
    PART_FIELDS,
    RETURN_LEAF,
    TEST_FIELDS,
)
from cdp_query.compiled.program_parts import Leaf, Program, Test
from cdp_query.compiled.sources import BOUND_ROW, EventKey, attribute_source, event_source, past_source
from cdp_query.compiled.value_tests import UNKNOWN, Tested, TestRows
from cdp_query.evaluate.needs import check_bytes
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.scan import filter_mask
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, Bools
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a question by their number, for looking them up in a partition."""

    events: tuple[str, ...]
    properties: tuple[str, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of(cls, numbers: SchemaReading) -> Names:
        """The names in the order of their numbers, in which they are listed."""
        return cls(tuple(numbers.events), tuple(numbers.properties), tuple(numbers.attributes))


@dataclass(frozen=True, slots=True)
class BoundProgram:
    """A program in some partitions: parts i64[parts, .], bounds i64[parts, leaves, .], tests i64[parts, tests, .].

    `stats` count what was read to decide texts and filters, by partition and node; `events_max` bounds the events that
    a chunk has in one morsel; `kept` keeps alive what the tables name.
    """

    parts: I64
    bounds: I64
    tests: I64
    stats: Mapping[tuple[int, int], NodeStats]
    events_max: int
    kept: list[object]


def bind_program(
    program: Program,
    names: Names,
    views: Sequence[PartitionView],
    populations: Sequence[Bools | None],
    instant_ms: int,
) -> BoundProgram:
    """Looks up the names of a program in each partition."""
    parts, kept, first_row = list[bytes](), list[object](views), 0
    for view, population in zip(views, populations, strict=True):
        kept.append(population)
        parts.append(_PART.pack(view.row_count, 0 if population is None else address_of(population), first_row))
        parts.append(unsealed_fields(view))
        first_row += view.row_count
    binding = _Binding(views, names, instant_ms, defaultdict(NodeStats), kept)
    tables, bounds = list[Sequence[ChunkTable | None]](), list[list[bytes]]()
    for leaf in program.leaves:
        found, rows = binding.leaf(leaf)
        tables.append(found)
        bounds.append(rows)
    _check_steps(program, tables)
    for view in views:
        if view.summaries:
            binding.note_dropped(program)
            break
    tests = [binding.test(test, program, tables[test.leaf]) for test in program.tests]
    shape = len(views)
    return BoundProgram(
        _joined([parts]).reshape(shape, PART_FIELDS),
        _joined(zip(*bounds, strict=True)).reshape(shape, len(program.leaves), BOUND_FIELDS),
        _joined(zip(*tests, strict=True)).reshape(shape, len(program.tests), TEST_FIELDS),
        binding.stats,
        max((table.events_max for found in tables for table in found if table is not None), default=0),
        kept,
    )


def _joined(rows: Iterable[Iterable[bytes]]) -> I64:
    """Rows of all partitions, one after the other; joining bytes costs a tenth of making an array of integers."""
    # A bytearray, because kernels are compiled for arrays that can be written.
    table: I64 = np.frombuffer(bytearray().join(chain.from_iterable(rows)), np.int64)
    return table


def _check_steps(program: Program, tables: Sequence[Sequence[ChunkTable | None]]) -> None:
    """Raises QueryTooLarge if the events of all steps in one partition may take too much memory."""
    steps = [
        (row, found)
        for leaf, row, found in zip(program.leaves, program.rows, tables, strict=True)
        if leaf.is_gathered and row[LEAF_KIND] == COUNT_LEAF
    ]
    rows = [row for row, _ in steps]
    for own in zip(*(found for _, found in steps), strict=True):
        events = sum([table.events for table in own if table is not None])
        check_bytes(_LISTED * events, exactly=partial(_listed_bytes, rows, own))


def _listed_bytes(rows: Sequence[Sequence[int]], tables: Sequence[ChunkTable | None]) -> int:
    windows = [(row[LEAF_FIRST_MS], row[LEAF_LAST_MS]) for row in rows]
    found = zip(windows, tables, strict=True)
    return _LISTED * sum(table.events_between(*window) for window, table in found if table is not None)


_LISTED: Final = 28  # bytes an event at most: its number, its start, a place to merge it, and events before it
_PART: Final = struct.Struct("=3q")  # PART_ROWS to PART_FIRST_ROW
_INSTANT: Final = struct.Struct("=q")  # BOUND_INSTANT
_READS_NOTHING: Final = BOUND_ROW.pack(*(0,) * BOUND_FIELDS)


@dataclass(slots=True)
class _Binding:
    views: Sequence[PartitionView]
    names: Names
    instant_ms: int
    stats: Mapping[tuple[int, int], NodeStats]
    kept: list[object]
    attributes: dict[int, tuple[list[ChunkTable | None], list[bytes], list[Tested]]] = field(default_factory=dict)

    def leaf(self, leaf: Leaf) -> tuple[Sequence[ChunkTable | None], list[bytes]]:
        """By partition the chunks that a leaf reads, of events or of the values that an attribute had, and its row."""
        if leaf.attribute is not None:
            return self._attribute(leaf.attribute)[:2]
        if not leaf.names:
            return [None] * len(self.views), [_READS_NOTHING] * len(self.views)
        key = self._events_of(leaf, leaf.property)
        sources = [event_source(view, key) for view in self.views]
        self.kept += sources
        return [source.chunks for source in sources], [source.row for source in sources]

    def _events_of(self, leaf: Leaf, prop: int | None) -> EventKey:
        names = tuple([self.names.events[at] for at in leaf.names])
        return EventKey(names, None if prop is None else self.names.properties[prop], leaf.is_gathered)

    def _attribute(self, number: int) -> tuple[list[ChunkTable | None], list[bytes], list[Tested]]:
        """By partition the older values of an attribute where some are asked for, the row of a leaf, and of a test."""
        known = self.attributes.get(number)
        if known is None:
            known = self.attributes[number] = [], [], []
            tables, rows, tested = known
            for view in self.views:
                source = attribute_source(view, self.names.attributes[number])
                self.kept.append(source)
                if source is None or source.latest_ms <= self.instant_ms:
                    tables.append(None)
                    rows.append(_READS_NOTHING)
                    tested.append(UNKNOWN if source is None else source.tested)
                else:
                    past = past_source(view, source)
                    self.kept.append(past)
                    tables.append(past.chunks)
                    rows.append(past.row[0] + _INSTANT.pack(self.instant_ms) + past.row[1])
                    tested.append(past.tested)
        return known

    def note_dropped(self, program: Program) -> None:
        """Counts the profiles with dropped events that leaves would gather; other leaves never meet any.

        Those of returns are counted with the report: they depend on the entries of the partition.
        """
        for number, view in enumerate(self.views):
            for leaf, row in zip(program.leaves, program.rows, strict=True):
                if view.summaries and leaf.is_gathered and row[LEAF_KIND] != RETURN_LEAF:
                    events = BoundEvents(_OwnFilter(view, self.names).events(leaf.names), None)
                    note_dropped(view, events, _interval_of(row), self.stats[number, leaf.node])

    def test(self, test: Test, program: Program, tables: Sequence[ChunkTable | None]) -> list[bytes]:
        """The rows of a test by partition; `tables` are the chunks that its leaf reads."""
        leaf = program.leaves[test.leaf]
        if test.key is None:
            return self._own_filter(test, leaf, program.rows[test.leaf], tables)
        rows = TestRows(test.values, self.views, leaf.node, self.stats, self.kept, test.is_attribute)
        if test.is_attribute:
            return rows.of(self._attribute(test.key)[2])
        key = self._events_of(leaf, test.key)
        sources = [event_source(view, key) for view in self.views]
        self.kept += sources
        return rows.of([source.tested for source in sources])

    def _own_filter(
        self, test: Test, leaf: Leaf, row: Sequence[int], tables: Sequence[ChunkTable | None]
    ) -> list[bytes]:
        """The rows of a test of flags that Python makes: whether events pass the leaf's own filter."""
        rows, interval = list[bytes](), _interval_of(row)
        for number, (view, table) in enumerate(zip(self.views, tables, strict=True)):
            tested = UNKNOWN
            if table is not None:
                masks = _OwnFilter(view, self.names).masks(leaf, table, interval, self.stats[number, leaf.node])
                columns = mask_table(masks)
                self.kept += [masks, columns]
                tested = Tested.of_flags(columns)
            rows.append(test.values.negated + tested.head + test.values.joined)
        return rows


def _interval_of(row: Sequence[int]) -> Interval:
    return Interval(row[LEAF_FIRST_MS], row[LEAF_LAST_MS])


@dataclass(frozen=True, slots=True)
class _OwnFilter:
    """Filters that kernels cannot test, with the ids of one partition."""

    view: PartitionView
    names: Names

    def masks(self, leaf: Leaf, table: ChunkTable, interval: Interval, stats: NodeStats) -> list[Bools | None]:
        """For each chunk that the interval touches: the events that pass the leaf's own filter."""
        assert leaf.where is not None, "the test is of such a filter"
        started = time.perf_counter_ns()
        where = anchored(BoundEvents((), self._bound(leaf.where)), self.view, stats).where
        assert where is not None, "a window of each user becomes one of each row"
        masks = [
            filter_mask(self.view, chunk, where, stats) if interval.overlaps(chunk.first_ms, chunk.last_ms) else None
            for chunk in table.chunks
        ]
        stats.nanoseconds += time.perf_counter_ns() - started
        return masks

    def events(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """The ids of the events that the partition knows."""
        found = (self.view.schema.events.get(self.names.events[number]) for number in numbers)
        return tuple(name for name in found if name is not None)

    def _bound(self, where: BoundFilter) -> BoundFilter:
        match where:
            case FilterAll(items) | FilterAny(items):
                return replace(where, items=tuple(map(self._bound, items)))
            case FilterNot(item):
                return FilterNot(self._bound(item))
            case BoundProperty(key, matcher):
                return BoundProperty(self._property(key), matcher)
            case FilterDistance(latitude, longitude):
                return replace(where, latitude=self._property(latitude), longitude=self._property(longitude))
            case FilterUserWindow(first_of, attribute):
                if first_of is not None:
                    inside = None if first_of.where is None else self._bound(first_of.where)
                    first_of = BoundEvents(self.events(first_of.names), inside)
                return replace(
                    where, first_of=first_of, attribute=None if attribute is None else self._attribute(attribute)
                )
        return where

    def _property(self, number: int | None) -> int | None:
        return None if number is None else self.view.schema.properties.get(self.names.properties[number])

    def _attribute(self, number: int) -> int | None:
        return self.view.schema.attributes.get(self.names.attributes[number])
