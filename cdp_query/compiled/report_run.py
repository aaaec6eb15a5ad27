"""A report over all partitions of a shard: its program, and the one call that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.bound_program import Names
from cdp_query.compiled.descriptors import ChunkTable
from cdp_query.compiled.find_members import find_members
from cdp_query.compiled.kernels.layout import CHUNK_FIRST_MS, CHUNK_LAST_MS, DO_LEAF, DO_NOTE, DO_OR
from cdp_query.compiled.populations import populations_of
from cdp_query.compiled.program_parts import Program
from cdp_query.compiled.run import Checkpoint, Reported, run
from cdp_query.compiled.sources import EventKey, event_source
from cdp_query.stats import REPORT, Meter
from cdp_query.tree.walk import operands
from cdp_store.arrays import I64, Bools
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_NOTHING: Final[I64] = np.zeros(0, np.int64)


@dataclass(slots=True)
class ReportRun:
    """All partitions of a shard on which a report is evaluated at once; its names are numbers of the question, and
    `known` are the names themselves.
    """

    views: Sequence[PartitionView]
    populations: Sequence[Bools | None]
    binder: Binder
    checkpoint: Checkpoint
    names: SchemaReading
    known: Names
    meter: Meter = field(default_factory=Meter)
    numbered: int = REPORT + 1  # the number of the next part of a segment

    @classmethod
    def of(
        cls, report: tree.Funnel | tree.Report, views: Sequence[PartitionView], binder: Binder, checkpoint: Checkpoint
    ) -> ReportRun:
        """The run of a report."""
        populations = populations_of(views, binder.context)
        names = binder.numbers(report)
        return cls(views, populations, binder, checkpoint, names, Names.of(names))

    def partitions(self) -> Iterator[tuple[PartitionView, Bools]]:
        """Each view with the mask of its population."""
        for view, population in zip(self.views, self.populations, strict=True):
            yield view, np.ones(view.row_count, np.bool_) if population is None else population

    def size(self) -> int:
        """Number of users in the population."""
        return sum(
            view.row_count if population is None else int(np.count_nonzero(population))
            for view, population in zip(self.views, self.populations, strict=True)
        )

    def members(self, segment: tree.Node) -> Sequence[Bools]:
        """Members of a segment in each partition; its parts are numbered after those of earlier segments."""
        first, self.numbered = self.numbered, self.numbered + _size(segment)
        return self._found(segment, self.binder, first)

    def members_at(self, segment: tree.Node, instant_ms: int) -> Sequence[Bools]:
        """Members of the only segment of a report at another instant."""
        return self._found(segment, Binder(replace(self.binder.context, as_of_ms=instant_ms)), self.numbered)

    def _found(self, segment: tree.Node, binder: Binder, first: int) -> Sequence[Bools]:
        found = find_members(segment, self.views, binder, self.checkpoint, first)
        self.meter.add(found.stats)
        return found.masks

    def extent(self, events: BoundEvents, interval: Interval) -> Interval | None:
        """The part of an interval in which such events may lie; None if there is none."""
        rows = np.concatenate([table.rows for table in self._tables(events)])
        first_ms, last_ms = rows[:, CHUNK_FIRST_MS], rows[:, CHUNK_LAST_MS]
        inside = (first_ms <= interval.last_ms) & (last_ms >= interval.first_ms)
        if not inside.any() or interval.last_ms < interval.first_ms:
            return None
        first, last = int(first_ms[inside].min()), int(last_ms[inside].max())
        return Interval(max(first, interval.first_ms), min(last, interval.last_ms))

    def overlap_ms(self, events: BoundEvents) -> int:
        """Milliseconds that an event may lie before one of an earlier chunk."""
        return max(table.overlap_ms for table in self._tables(events))

    def _tables(self, events: BoundEvents) -> list[ChunkTable]:
        key = EventKey(tuple([self.known.events[at] for at in events.names]), None, True)
        return [event_source(view, key).chunks for view in self.views]

    def program(self) -> Program:
        """A program without any leaf yet."""
        return Program(lambda _: 0.0)

    def run(
        self,
        program: Program,
        leaves: Sequence[int],
        output: I64,
        entries: I64 = _NOTHING,
        returned: Mapping[tuple[int, int], Bools] | None = None,
    ) -> int:
        """Evaluates the leaves of a report in all partitions; returns the number of users that any is about."""
        for place, leaf in enumerate(leaves):
            program.do(DO_LEAF, int(place > 0), leaf)
            if place:
                program.do(DO_OR, 0)
        program.do(DO_NOTE, 0, node=program.node(REPORT))
        own = self.meter.node(REPORT)
        own.rows_true = own.evaluations = 0  # a report of several calls is one evaluation
        context, count, first_row = self.binder.context, 0, 0
        for portion in program.portions(len(self.views)):
            views, populations = self.views[portion], self.populations[portion]
            reported = Reported(output, entries[first_row:], _of(portion, returned or {}))
            found = run(program, self.known, views, populations, context, self.checkpoint, _decided, reported)
            self.meter.add(found.stats)
            count += sum(inside for _, inside in found.counts)
            first_row += sum(view.row_count for view in views)
        return count


def _of(portion: slice, masks: Mapping[tuple[int, int], Bools]) -> Mapping[tuple[int, int], Bools]:
    """The masks of the partitions that run together, by their numbers among those."""
    return {
        (part - portion.start, leaf): mask
        for (part, leaf), mask in masks.items()
        if portion.start <= part < portion.stop
    }


def _size(segment: tree.Node) -> int:
    return 1 + sum(map(_size, operands(segment)))


def _decided(_part: int, _node: int, _meter: Meter) -> Bools:
    raise AssertionError("a report leaves nothing open")
