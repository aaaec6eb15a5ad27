"""The events of a sequence's steps laid out for kernels/steps: by groups that do not overlap in time, and by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cdp_query.bind.bound import BoundSequence
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import steps
from cdp_query.scan.scan import Scanned, filter_mask, overlapping
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, U32, AnyArray, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.limits import MORSEL_BITS, MORSEL_ROWS
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
        chunk = self.chunk
        run_rows, run_starts, run_offsets, times = chunk.addresses
        wide = chunk.times.itemsize == 8
        return (
            run_rows,
            run_starts,
            run_offsets,
            chunk.run_offsets.shape[0] - 1,
            times,
            wide,
            chunk.base_ms,
            0 if self.mask is None else self.mask.ctypes.data,
            self.wanted.first_ms,
            self.wanted.last_ms,
            self.whole and not wide and self.mask is None,
        )

    def events(self) -> tuple[U32, I64]:
        """(rows, epoch ms) of the events that count."""
        times = self.chunk.full_times()
        inside: Bools = (times >= self.wanted.first_ms) & (times <= self.wanted.last_ms)
        scanned = Scanned(self.chunk, inside).where(self.mask)
        return scanned.rows(), scanned.times()


@dataclass(slots=True)
class StepSources:
    """The kernel's table, i64[groups, steps, SOURCE_FIELDS], and the arrays it points to that need a reference here."""

    table: I64
    held: list[AnyArray] = field(default_factory=list)


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
            if len(of_step) == 1:
                laid_out.table[number, step] = of_step[0].fields()
                if of_step[0].mask is not None:
                    laid_out.held.append(of_step[0].mask)
            elif of_step:
                laid_out.table[number, step] = _merged(of_step, laid_out.held)
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


def _merged(sources: Sequence[_Source], held: list[AnyArray]) -> tuple[int, ...]:
    """The table's row of one step's events from chunks that overlap others: sorted together, in arrays of their own."""
    parts = [source.events() for source in sources]
    rows, times = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    if not rows.size:
        return _NONE
    order = order_by_row_time(rows, times)
    rows, times = rows[order], np.ascontiguousarray(times[order])
    firsts = np.flatnonzero(np.concatenate([np.ones(1, np.bool_), rows[1:] != rows[:-1]]))
    run_rows = rows[firsts]
    run_starts = np.append(firsts, rows.shape[0]).astype(np.uint32)
    morsels = (int(rows[-1]) >> MORSEL_BITS) + 1
    borders = np.arange(morsels + 1, dtype=np.int64) * MORSEL_ROWS
    run_offsets: I64 = np.searchsorted(run_rows, borders).astype(np.int64)
    index = (run_rows & np.uint32(MORSEL_ROWS - 1)).astype(np.uint16), run_starts, run_offsets
    held.extend((*index, times))
    first_ms, last_ms = int(times.min()), int(times.max())
    return *(array.ctypes.data for array in index), morsels, times.ctypes.data, 1, 0, 0, first_ms, last_ms, 0
