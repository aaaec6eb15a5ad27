"""A program's leaves and tests in each partition: what they read there, as rows of addresses."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    ColumnTable,
    address_of,
    attribute_table,
    change_table,
    chunk_table_of,
    mask_table,
    property_table,
    since_table,
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
from cdp_query.compiled.value_tests import test_row
from cdp_query.evaluate.needs import check_bytes
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.scan import filter_mask
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, Bools
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import CHANGE_VALUE, PartitionView


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a question by their number, for looking them up in a partition."""

    events: tuple[str, ...]
    properties: tuple[str, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of(cls, numbers: SchemaReading) -> Names:
        """The names in the order of their numbers."""
        return cls(*(tuple(sorted(known, key=known.__getitem__)) for known in _tables(numbers)))


def _tables(numbers: SchemaReading) -> tuple[Mapping[str, int], ...]:
    return numbers.events, numbers.properties, numbers.attributes


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
    parts, bounds, tests = list[tuple[int, ...]](), list[list[_Row]](), bytearray()
    stats = defaultdict[tuple[int, int], NodeStats](NodeStats)
    events_of = [(leaf, [names.events[at] for at in leaf.names]) for leaf in program.leaves]
    kept, events_max, first_row = list[object](views), 0, 0
    for number, (view, population) in enumerate(zip(views, populations, strict=True)):
        kept.append(population)
        mask = 0 if population is None else address_of(population)
        parts.append((view.row_count, mask, first_row, *unsealed_fields(view)))
        first_row += view.row_count
        one = _OneView(number, view, names, instant_ms, stats, kept)
        tables = [one.chunks(leaf, events) for leaf, events in events_of]
        _check_steps(program, tables)
        bounds.append([one.leaf(leaf, table) for leaf, table in zip(program.leaves, tables, strict=True)])
        if view.summaries:
            one.note_dropped(program)
        for test in program.tests:
            tests += one.test(test, program, tables[test.leaf])
        for table in tables:
            if table is not None and table.events_max > events_max:
                events_max = table.events_max
    shape = len(views)
    return BoundProgram(
        np.array(parts, np.int64).reshape(shape, PART_FIELDS),
        np.array(bounds, np.int64).reshape(shape, len(program.leaves), BOUND_FIELDS),
        np.frombuffer(tests, np.int64).reshape(shape, len(program.tests), TEST_FIELDS),
        stats,
        events_max,
        kept,
    )


def _check_steps(program: Program, tables: Sequence[ChunkTable | None]) -> None:
    """Raises QueryTooLarge if the events of all steps in one partition may take too much memory."""
    events = 0
    for leaf, row, table in zip(program.leaves, program.rows, tables, strict=True):
        if leaf.is_gathered and row[LEAF_KIND] == COUNT_LEAF and table is not None:
            events += table.events_between(row[LEAF_FIRST_MS], row[LEAF_LAST_MS])
    check_bytes(_LISTED * events)


_Row = tuple[int, ...]
_LISTED: Final = 28  # bytes an event at most: its number, its start, a place to merge it, and events before it
_READS_NOTHING: Final[_Row] = (0,) * BOUND_FIELDS


@dataclass(slots=True)
class _OneView:
    number: int
    view: PartitionView
    names: Names
    instant_ms: int
    stats: Mapping[tuple[int, int], NodeStats]
    kept: list[object]

    def chunks(self, leaf: Leaf, events: Sequence[str]) -> ChunkTable | None:
        """The chunks that a leaf reads: of events, or of the values that an attribute had before."""
        if leaf.attribute is not None:
            return self._older_values(leaf.attribute)
        if not events:
            return None
        table = chunk_table_of(self.view, events, is_gathered=leaf.is_gathered)
        self.kept.append(table)
        return table

    def _attribute(self, number: int) -> int | None:
        return self.view.schema.attributes.get(self.names.attributes[number])

    def _older_values(self, number: int) -> ChunkTable | None:
        attribute = self._attribute(number)
        current = None if attribute is None else self.view.attributes.get(attribute)
        if attribute is None or current is None or current.latest_ms <= self.instant_ms:
            return None
        return change_table(self.view, attribute)

    def leaf(self, leaf: Leaf, table: ChunkTable | None) -> _Row:
        if table is None:
            return _READS_NOTHING
        if leaf.attribute is not None:
            return self._past(leaf.attribute, table)
        known, columns = self._property(leaf.property), (0, 0)
        if known is not None:
            found = property_table(self.view, table, known)
            self.kept.append(found)
            columns = found.addresses
        return (*table.fields, -1 if known is None else known, *columns, 0, table.events, 0, 0, 0)

    def _past(self, number: int, table: ChunkTable) -> _Row:
        attribute = self._attribute(number)
        assert attribute is not None, "asked before"
        since, values = since_table(self.view, attribute), property_table(self.view, table, CHANGE_VALUE)
        self.kept += [table, since, values]
        times = self.instant_ms, address_of(since.rows)
        return (*table.fields, CHANGE_VALUE, *values.addresses, 0, table.events, 0, *times)

    def note_dropped(self, program: Program) -> None:
        """Counts the profiles with dropped events that leaves would gather; other leaves never meet any.

        Those of returns are counted with the report: they depend on the entries of the partition.
        """
        for leaf, row in zip(program.leaves, program.rows, strict=True):
            if leaf.is_gathered and row[LEAF_KIND] != RETURN_LEAF:
                events = BoundEvents(self._ids(leaf.names), None)
                note_dropped(self.view, events, _interval_of(row), self.stats[self.number, leaf.node])

    def test(self, test: Test, program: Program, table: ChunkTable | None) -> bytes:
        leaf, columns, older, key = program.leaves[test.leaf], None, None, None
        stats = self.stats[self.number, leaf.node]
        if test.key is None:
            if table is not None:
                columns = self._masks(leaf, table, _interval_of(program.rows[test.leaf]), stats)
        elif test.is_attribute:
            key = self._attribute(test.key)
            if key is not None:
                columns = attribute_table(self.view, key)
                older = None if table is None else property_table(self.view, table, CHANGE_VALUE)
        else:
            key = self._property(test.key)
            if key is not None and table is not None:
                columns = property_table(self.view, table, key)
        return test_row(test.values, key, columns, older, self.view, stats, self.kept, attribute=test.is_attribute)

    def _masks(self, leaf: Leaf, table: ChunkTable, interval: Interval, stats: NodeStats) -> ColumnTable:
        """A column of flags for each chunk that the interval touches: the events that pass the leaf's own filter."""
        assert leaf.where is not None, "the test is of such a filter"
        started = time.perf_counter_ns()
        where = anchored(BoundEvents((), self._bound(leaf.where)), self.view, stats).where
        assert where is not None, "a window of each user becomes one of each row"
        masks = [
            filter_mask(self.view, chunk, where, stats) if interval.overlaps(chunk.first_ms, chunk.last_ms) else None
            for chunk in table.chunks
        ]
        stats.nanoseconds += time.perf_counter_ns() - started
        self.kept.append(masks)
        return mask_table(masks)

    def _bound(self, where: BoundFilter) -> BoundFilter:
        """A filter with the ids of this partition."""
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
                    first_of = BoundEvents(self._ids(first_of.names), inside)
                return replace(
                    where, first_of=first_of, attribute=None if attribute is None else self._attribute(attribute)
                )
        return where

    def _property(self, number: int | None) -> int | None:
        return None if number is None else self.view.schema.properties.get(self.names.properties[number])

    def _ids(self, numbers: Sequence[int]) -> tuple[int, ...]:
        found = (self.view.schema.events.get(self.names.events[number]) for number in numbers)
        return tuple(name for name in found if name is not None)


def _interval_of(row: Sequence[int]) -> Interval:
    return Interval(row[LEAF_FIRST_MS], row[LEAF_LAST_MS])
