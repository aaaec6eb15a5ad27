"""The events of a sequence's steps laid out for kernels/steps: by groups that do not overlap in time, and by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cdp_query.bind.bound import BoundSequence
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import steps
from cdp_query.scan.merged import merged, source_fields
from cdp_query.scan.scan import Scanned, filter_mask, overlapping
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView

_NONE = (0,) * steps.SOURCE_FIELDS


@dataclass(frozen=True, slots=True)
class _Source:
    """A chunk with events of a step in its interval; mask None = all pass, whole = none lies outside."""

    step: int
    chunk: EventChunk
    wanted: Interval
    mask: Bools | None
    whole: bool

    def fields(self) -> tuple[int, ...]:
        """Its row of the kernel's table."""
        return source_fields(Scanned(self.chunk, self.mask), self.wanted, is_plain=self.whole)


@dataclass(slots=True)
class StepSources:
    """The kernel's table, i64[groups, steps, SOURCE_FIELDS], and what holds the arrays that it points to."""

    table: I64
    held: list[_Source] = field(default_factory=list)


def depth_of_steps(view: PartitionView, node: BoundSequence, horizon: Interval, depth: U8, stats: NodeStats) -> None:
    """depth[row] = most steps any attempt of a row completed, for steps that share no event name."""
    sources = list(_sources(view, node, horizon, stats))
    if sources:
        laid_out = _laid_out(sources, len(node.steps))
        steps.depth_by_row(laid_out.table, node.within_ms, node.strict_ties, depth)


def _sources(view: PartitionView, node: BoundSequence, horizon: Interval, stats: NodeStats) -> Iterator[_Source]:
    """Sources step by step, up to the first step that has none."""
    for number, step in enumerate(node.steps):
        wanted = horizon if number else Interval(horizon.first_ms, min(horizon.last_ms, node.interval.last_ms))
        empty = True
        for chunk, whole in overlapping(view, step, wanted, stats):
            mask = None if step.where is None else filter_mask(view, chunk, step.where, stats)
            yield _Source(number, chunk, wanted, mask, whole)
            empty = False
        if empty:
            return


def _laid_out(sources: Sequence[_Source], length: int) -> StepSources:
    groups = list(_apart_in_time(sources))
    laid_out = StepSources(np.array([[_NONE] * length for _ in groups], np.int64))
    for number, group in enumerate(groups):
        for step in range(length):
            of_step = [source for source in group if source.step == step]
            if of_step:
                source = of_step[0] if len(of_step) == 1 else _merged(of_step)
                laid_out.table[number, step] = source.fields()
                laid_out.held.append(source)
    return laid_out


def _apart_in_time(sources: Sequence[_Source]) -> Iterator[list[_Source]]:
    """Sources in groups that do not overlap in time, in order of time."""
    group = list[_Source]()
    for source in sorted(sources, key=lambda source: source.chunk.first_ms):
        if group and source.chunk.first_ms > max(other.chunk.last_ms for other in group):
            yield group
            group = []
        group.append(source)
    yield group


def _merged(sources: Sequence[_Source]) -> _Source:
    """One step's events of chunks that overlap others as one source."""
    wanted = sources[0].wanted
    chunk = merged([Scanned(source.chunk, source.mask) for source in sources], wanted)
    return _Source(sources[0].step, chunk, wanted, None, True)
