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
from cdp_query.compiled.descriptors import ChunkTable, chunk_table_of
from cdp_query.compiled.kernels.layout import CHUNK_FIRST_MS, CHUNK_LAST_MS, DO_LEAF
from cdp_query.compiled.leaves import can_read
from cdp_query.compiled.program_parts import Program
from cdp_query.compiled.run import Checkpoint, Reported, population_of, run
from cdp_query.compiled.shape import dropped_events, numbered_names
from cdp_query.stats import REPORT, Meter, NodeStats, merge_stats
from cdp_store.arrays import I64, Bools
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_NOTHING: Final[I64] = np.zeros(0, np.int64)


@dataclass(slots=True)
class ReportRun:
    """All partitions of a shard on which a report is evaluated at once; its names are numbers of the question, and
    `known` are the names themselves.

    `stats` and `size`, the number of users in the population, are known once something ran.
    """

    views: Sequence[PartitionView]
    binder: Binder
    checkpoint: Checkpoint
    names: SchemaReading
    known: Names
    stats: Mapping[int, NodeStats] = field(default_factory=dict)
    size: int = 0

    @classmethod
    def of(
        cls, report: tree.Funnel | tree.Report, views: Sequence[PartitionView], binder: Binder, checkpoint: Checkpoint
    ) -> ReportRun:
        """The run of a report."""
        names = numbered_names(binder.names(report))
        return cls(views, binder, checkpoint, names, Names.of(names))

    def can_read(self, *events: BoundEvents) -> bool:
        """True if kernels can read these events."""
        dropped = dropped_events(self.names, self.views)
        return all(can_read(one, dropped) for one in events)

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

    def _tables(self, events: BoundEvents) -> Iterator[ChunkTable]:
        names = [self.known.events[at] for at in events.names]
        return (chunk_table_of(view, names, is_gathered=True) for view in self.views)

    def program(self) -> Program:
        """A program without any leaf yet."""
        return Program(lambda _: 0.0)

    def run(
        self,
        program: Program,
        leaf: int,
        output: I64,
        entries: I64 = _NOTHING,
        returned: Mapping[tuple[int, int], Bools] | None = None,
    ) -> int:
        """Evaluates the leaf of a report in all partitions; returns the number of users that it is about."""
        program.do(DO_LEAF, 0, leaf, program.node(REPORT))
        context = self.binder.context
        populations = [population_of(view, context) for view in self.views]
        reported = Reported(output, entries, returned or {})
        found = run(program, self.known, self.views, populations, context, self.checkpoint, _decided, reported)
        # A report of two calls is one evaluation.
        again = {node: replace(own, rows_true=0, evaluations=0) for node, own in self.stats.items()}
        self.stats = merge_stats(again, found.stats)
        self.size, count = (sum(sizes) for sizes in zip(*found.counts, strict=True))
        return int(count)


def _decided(_part: int, _node: int, _meter: Meter) -> Bools:
    raise AssertionError("a report leaves nothing open")
