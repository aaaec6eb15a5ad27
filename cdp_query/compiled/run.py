"""Runs a program over the views of a shard's partitions: masks, counts and counters of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final

import numpy as np

from cdp_query.compiled.bound_program import BoundProgram, Names, bind_program
from cdp_query.compiled.descriptors import address_of
from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.following import BLOCKS
from cdp_query.compiled.kernels.layout import (
    BOUND_GIVEN,
    BOUND_RETURNED,
    COUNT_BYTES,
    COUNT_CHUNKS,
    COUNT_CYCLES,
    COUNT_EVALUATIONS,
    COUNT_EVENTS,
    COUNT_MISMATCH,
    COUNT_PRUNED,
    COUNT_ROWS,
    COUNT_TRUE,
    COUNTERS,
)
from cdp_query.compiled.kernels.program import run_program
from cdp_query.compiled.kernels.sequence_leaf import STEP_FIELDS
from cdp_query.compiled.kernels.step_events import PILES, SLACK
from cdp_query.compiled.program_parts import Program
from cdp_query.stats import Meter, NodeStats
from cdp_query.tree import Context
from cdp_store.arrays import I64, Bools
from cdp_store.limits import MORSEL_ROWS
from cdp_store.memory.view import PartitionView

_ROWS_AT_ONCE: Final = 1 << 20  # a caller that has gone away is noticed between calls
Checkpoint = Callable[[], None]
MaskOf = Callable[[int, int, Meter], Bools]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Results by partition: members bool[rows] and (population, members); counters of all of them by node."""

    members: Sequence[Bools]
    counts: Sequence[tuple[int, int]]
    stats: Mapping[int, NodeStats]


@dataclass(frozen=True, slots=True)
class Reported:
    """Arrays of a report, see `Results`; `returned` are masks bool[rows] for its leaves, by (partition, leaf)."""

    output: I64
    entries: I64
    returned: Mapping[tuple[int, int], Bools] = field(default_factory=dict)


_NO_REPORT: Final = Reported(np.zeros(0, np.int64), np.zeros(0, np.int64))


def run(
    program: Program,
    names: Names,
    views: Sequence[PartitionView],
    populations: Sequence[Bools | None],
    context: Context,
    checkpoint: Checkpoint,
    mask_of: MaskOf,
    report: Reported = _NO_REPORT,
) -> Evaluated:
    """Evaluates a program; `mask_of` (partition, node, meter) evaluates a part that kernels leave open, another way."""
    bound = bind_program(program, names, views, populations, context.as_of_ms)
    for (part, leaf), mask in report.returned.items():
        bound.bounds[part, leaf, BOUND_RETURNED] = address_of(mask)
    work = _Work(program, bound, report, [view.row_count for view in views])
    started = time.perf_counter_ns()
    for first, last in _portions(views):
        checkpoint()
        work.run(first, last)
    if work.results.open_leaves.any():
        for part in np.flatnonzero(work.results.open_leaves.any(axis=1)).tolist():
            _close(work, part, mask_of)
    elapsed = time.perf_counter_ns() - started
    ends = accumulate(view.row_count for view in views)
    all_members = work.results.members.view(np.bool_)
    members = [all_members[end - view.row_count : end] for view, end in zip(views, ends, strict=True)]
    counts = [(whole, found) for whole, found in work.results.counts.tolist()]
    return Evaluated(members, counts, work.stats(elapsed))


def _portions(views: Sequence[PartitionView]) -> Iterator[tuple[int, int]]:
    """(first, last) of neighbouring partitions with about so many rows in all."""
    first, rows = 0, 0
    for number, view in enumerate(views):
        if rows and rows + view.row_count > _ROWS_AT_ONCE:
            yield first, number
            first, rows = number, 0
        rows += view.row_count
    if first < len(views):
        yield first, len(views)


def _close(work: _Work, part: int, mask_of: MaskOf) -> None:
    """Evaluates a partition again, with the masks of the leaves that were left open, until none is.

    A leaf that was skipped before, because of what an open one seemed to be, may be open as well.
    """
    while found := np.flatnonzero(work.results.open_leaves[part]).tolist():
        for leaf in found:
            mask = np.ascontiguousarray(mask_of(part, work.program.leaves[leaf].node, work.meter))
            work.bound.kept.append(mask)
            work.bound.bounds[part, leaf, BOUND_GIVEN] = address_of(mask)
        work.forget(part)
        work.run(part, part + 1)


class _Work:
    """The arrays of one evaluation."""

    def __init__(self, program: Program, bound: BoundProgram, report: Reported, row_counts: Sequence[int]) -> None:
        parts, leaves = len(row_counts), len(program.leaves)
        self.program, self.bound, self.meter = program, bound, Meter()
        self._tables = Tables(*program.arrays(), bound.parts, bound.bounds, bound.tests)
        rows = min(max([1, *row_counts]), MORSEL_ROWS)
        events = bound.events_max
        gathered = rows if program.steps else 0
        sums: I64 = np.empty(rows, np.int64)
        self._memory = Memory(
            masks=np.empty((program.depth, rows), np.uint8),
            kept=np.empty((len(program.kept_slots), rows), np.uint8),
            asked=np.empty(rows, np.uint8),
            window=np.empty(rows, np.uint32),
            sums=sums,
            days=sums.view(np.uint64),
            marks=np.empty(rows, np.uint8),
            event_masks=np.empty((program.filter_depth, max(events, rows) + SLACK), np.uint8),
            running=np.empty(events + 1, np.int64),
            event_rows=np.empty(events + 4, np.uint16),
            event_periods=np.empty(events, np.uint32),
            scratch=np.empty(max(events, rows) + SLACK, np.uint8),
            wanted=np.empty(gathered, np.uint8),
            depth=np.empty(gathered, np.uint8),
            possible=np.empty(gathered, np.uint8),
            level=np.empty(gathered, np.uint8),
            carried=np.empty(gathered, np.uint8),
            rows=np.empty(gathered, np.uint32),
            chosen=np.empty(gathered, np.uint32),
            carry=np.empty((program.steps, gathered), np.int64),
            periods=np.empty(rows if report.entries.size else 0, np.int32),
            steps=np.empty((program.steps, STEP_FIELDS), np.int64),
            offsets=np.empty((max(program.steps, 1), BLOCKS + 1), np.int64),
            piles=np.empty((PILES if program.steps else 0, BLOCKS + 1), np.int64),
            counted=np.empty(COUNTERS, np.int64),
        )
        self.results = Results(
            members=np.empty(sum(row_counts), np.uint8),
            counts=np.zeros((parts, 2), np.int64),
            counters=np.zeros((parts, len(program.nodes), COUNTERS), np.int64),
            open_leaves=np.zeros((parts, leaves), np.uint8),
            noted=np.zeros((parts, leaves), np.uint8),
            output=report.output,
            entries=report.entries,
        )

    def run(self, first: int, last: int) -> None:
        """Evaluates the partitions first:last."""
        run_program(self._tables, self._memory, self.results, first, last)

    def forget(self, part: int) -> None:
        """Takes back the results of a partition."""
        results = self.results
        for array in (results.noted, results.open_leaves, results.counters, results.counts):
            array[part] = 0

    def stats(self, nanoseconds: int) -> Mapping[int, NodeStats]:
        """The counters by node; the time that the kernels took is divided by the cycles of each leaf."""
        rows = self.results.counters.sum(axis=0).tolist()
        share = nanoseconds / max(sum(row[COUNT_CYCLES] for row in rows), 1)
        numbered = zip(self.program.nodes, rows, strict=True)
        nodes = {node: _stats_of(row, share) for node, row in numbered if row[COUNT_EVALUATIONS]}
        for (part, node), decided in self.bound.stats.items():
            if self.results.counters[part, self.program.nodes.index(node), COUNT_EVALUATIONS]:
                nodes[node].add(decided)
        for node, another in self.meter.nodes().items():
            # Counted there and by the kernel: rows, and the partition. A part that was left open may have been skipped
            # in the end, because of what another one came to be.
            nodes.setdefault(node, NodeStats()).add(replace(another, rows_true=0, evaluations=0))
        return nodes


def _stats_of(row: Sequence[int], share: float) -> NodeStats:
    return NodeStats(
        chunks=row[COUNT_CHUNKS],
        chunks_pruned=row[COUNT_PRUNED],
        events=row[COUNT_EVENTS],
        bytes=row[COUNT_BYTES],
        rows_true=row[COUNT_TRUE],
        type_mismatch=row[COUNT_MISMATCH],
        nanoseconds=int(row[COUNT_CYCLES] * share),
        rows=row[COUNT_ROWS],
        evaluations=row[COUNT_EVALUATIONS],
    )
