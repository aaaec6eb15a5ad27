"""Flow: the names of the events that follow or precede an anchor, morsel by morsel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval, fixed_ms
from cdp_query.errors import QueryInvalid
from cdp_query.kernels import flows as kernels
from cdp_query.limits import FLOW_DEPTH_MAX
from cdp_query.reports.flow_part import FlowPart, distinct_paths
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.scan import Scanned, overlapping, scan
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_query.tree import FlowAnchor, FlowDirection
from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.limits import MORSEL_ROWS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_MODES: Final = {FlowAnchor.FIRST: kernels.FIRST, FlowAnchor.LAST: kernels.LAST, FlowAnchor.EACH: kernels.EACH}


@dataclass(frozen=True, slots=True)
class BoundFlow:
    """A flow with names and window resolved; `nodes` are (name, id) by name; within_ms < 0 is no limit."""

    events: BoundEvents
    nodes: tuple[tuple[str, int], ...]
    interval: Interval
    until_ms: int
    depth: int
    within_ms: int
    direction: FlowDirection
    anchor: FlowAnchor

    @property
    def backward(self) -> bool:
        """True if the flow looks at events before its anchors."""
        return self.direction is FlowDirection.BEFORE

    def horizon(self, first_ms: int, last_ms: int) -> Interval:
        """Interval of the events that anchors between two instants can reach."""
        if self.backward:
            return Interval(TIME_MIN_MS if self.within_ms < 0 else max(first_ms - self.within_ms, TIME_MIN_MS), last_ms)
        reach_ms = self.until_ms if self.within_ms < 0 else last_ms + self.within_ms
        return Interval(first_ms, min(reach_ms, self.until_ms))


def bind_flow(report: tree.Flow, binder: Binder, schema: SchemaReading) -> BoundFlow:
    """A flow with the names of a partition; without `only`, all of them are looked at."""
    if not 1 <= report.depth <= FLOW_DEPTH_MAX:
        raise QueryInvalid(f"a flow has a depth of 1 to {FLOW_DEPTH_MAX}, not {report.depth}")
    events, interval = binder.windowed(report.events, report.window, schema)
    known = schema.events
    return BoundFlow(
        events,
        tuple((name, known[name]) for name in sorted(set(report.only or known)) if name in known),
        interval,
        binder.context.as_of_ms,
        report.depth,
        -1 if report.within is None else fixed_ms(report.within),
        report.direction,
        report.anchor,
    )


def flow(
    view: PartitionView, report: BoundFlow, population: Bools, checkpoint: Callable[[], None], stats: NodeStats
) -> tuple[int, FlowPart]:
    """(users with an anchor, the paths that anchors meet)."""
    entries = anchored(report.events, view, stats)
    anchors = list(scan(view, entries, report.interval, stats))
    walk = _Walk(view, report, anchors, stats)
    users, growing = 0, 0
    paths, counts = list[U16](), list[I64]()
    for morsel in range(-(-view.row_count // MORSEL_ROWS)) if anchors else ():
        checkpoint()
        rows = slice(morsel * MORSEL_ROWS, (morsel + 1) * MORSEL_ROWS)
        first_ms, last_ms = walk.anchor_times(morsel, population[rows])
        users += int(np.count_nonzero(first_ms <= last_ms))
        met, open_ended = walk.paths(morsel, first_ms, last_ms)
        different = distinct_paths(met, np.ones(met.shape[0], np.int64))
        paths.append(different[0])
        counts.append(different[1])
        growing += open_ended
    none: U16 = np.zeros((0, report.depth), np.uint16)
    names = tuple(name for name, _ in walk.names)
    return users, FlowPart.of(
        names, np.concatenate([none, *paths]), np.concatenate([np.zeros(0, np.int64), *counts]), growing
    )


class _Walk:
    """State that the morsels of one partition share: the chunks of anchors and nodes, and the names in order."""

    def __init__(self, view: PartitionView, report: BoundFlow, anchors: Sequence[Scanned], stats: NodeStats) -> None:
        self._report, self._anchors = report, anchors
        text = {name_id: name for name, name_id in view.schema.events.items()}
        entries = [(text[name], name) for name in report.events.names]
        self.names = sorted({*report.nodes, *entries})
        self._is_node: Bools = np.isin([name for _, name in self.names], [name for _, name in report.nodes])
        # Of anchors at one instant the name that the question mentions first stands for the user.
        ranks = {name: rank for rank, name in enumerate(report.events.names)}
        self._ranks: U16 = np.array([ranks.get(name, 0) for _, name in self.names], np.uint16)
        self._masks = {id(found.chunk): found.mask_or_ones() for found in anchors}
        self._chunks = list(self._in_order(view, stats)) if anchors else []

    def _in_order(self, view: PartitionView, stats: NodeStats) -> Iterator[tuple[int, EventChunk]]:
        """(place of its name, chunk) of everything that anchors may reach, and of the anchors themselves."""
        interval = self._report.interval
        horizon = self._report.horizon(interval.first_ms, interval.last_ms)
        for place, (_, name) in enumerate(self.names):
            events = BoundEvents((name,), None)
            if self._is_node[place]:
                note_dropped(view, events, horizon, stats)
            for chunk, _ in overlapping(view, events, horizon, stats):
                yield place, chunk

    def anchor_times(self, morsel: int, population: Bools) -> tuple[I64, I64]:
        """Times of the first and last anchor of each row of a morsel; the first lies after the last where none is."""
        first_ms: I64 = np.full(population.shape[0], TIME_MAX_MS + 1, np.int64)
        last_ms: I64 = np.full(population.shape[0], TIME_MIN_MS - 1, np.int64)
        for found in self._anchors:
            chunk = found.chunk
            mask = found.kernel_mask()
            runs = _runs_of(chunk, morsel)
            if runs is not None:
                kernels.bound_anchors(
                    chunk.run_rows, chunk.run_starts, *runs, chunk.times, chunk.base_ms, mask, first_ms, last_ms
                )
        first_ms[~population] = TIME_MAX_MS + 1
        last_ms[~population] = TIME_MIN_MS - 1
        if self._report.anchor is FlowAnchor.FIRST:
            last_ms = np.where(first_ms <= last_ms, first_ms, last_ms)
        elif self._report.anchor is FlowAnchor.LAST:
            first_ms = np.where(first_ms <= last_ms, last_ms, first_ms)
        return first_ms, last_ms

    def paths(self, morsel: int, first_ms: I64, last_ms: I64) -> tuple[U16, int]:
        """(one path per anchor of a morsel: u16[anchors, depth], number of anchors that may still meet more)."""
        report = self._report
        low_ms, high_ms = _reach(report, first_ms, last_ms)
        found = [self._select(morsel, place, chunk, low_ms, high_ms) for place, chunk in self._chunks]
        selected = [one for one in found if one is not None]
        if not selected:
            return np.zeros((0, report.depth), np.uint16), 0
        rows, times, names, anchors = (
            np.concatenate([one.rows for one in selected]),
            np.concatenate([one.times for one in selected]),
            np.concatenate([one.names for one in selected]),
            np.concatenate([one.anchors for one in selected]),
        )
        order = order_by_row_time(rows, times)
        out: U16 = np.zeros((int(np.count_nonzero(anchors)), report.depth), np.uint16)
        count, growing = kernels.walk_flows(
            rows[order], times[order], names[order], anchors[order], self._is_node, self._ranks, report.within_ms,
            report.backward, _MODES[report.anchor], report.until_ms, out,
        )  # fmt: skip
        return out[:count], growing

    def _select(self, morsel: int, place: int, chunk: EventChunk, low_ms: I64, high_ms: I64) -> _Selected | None:
        """The events of a chunk that anchors of a morsel reach, anchors among them."""
        runs = _runs_of(chunk, morsel)
        if runs is None:
            return None
        room = int(chunk.run_starts[runs[1]]) - int(chunk.run_starts[runs[0]])
        at, rows, times = np.empty(room, np.int64), np.empty(room, np.uint32), np.empty(room, np.int64)
        count = kernels.select_reachable(
            chunk.run_rows, chunk.run_starts, *runs, chunk.times, chunk.base_ms, low_ms, high_ms, at, rows, times
        )
        if not count:
            return None
        mask = self._masks.get(id(chunk))
        anchors = np.zeros(count, np.uint8) if mask is None else mask[at[:count]].view(np.uint8)
        return _Selected(rows[:count], times[:count], np.full(count, place, np.uint16), anchors)


@dataclass(frozen=True, slots=True)
class _Selected:
    """Parallel arrays over events: row in the morsel, epoch ms, place of the name, whether it is an anchor."""

    rows: U32
    times: I64
    names: U16
    anchors: U8


def _runs_of(chunk: EventChunk, morsel: int) -> tuple[int, int] | None:
    """The runs of a morsel as first and stop; None where it has none."""
    if morsel + 1 >= chunk.run_offsets.shape[0]:
        return None
    first, stop = int(chunk.run_offsets[morsel]), int(chunk.run_offsets[morsel + 1])
    return (first, stop) if first < stop else None


def _reach(report: BoundFlow, first_ms: I64, last_ms: I64) -> tuple[I64, I64]:
    """First and last instant that the anchors of each row reach; the first lies after the last where none is."""
    low_ms, high_ms, has_anchor = first_ms.copy(), last_ms.copy(), first_ms <= last_ms
    if report.backward:
        low_ms[has_anchor] = TIME_MIN_MS if report.within_ms < 0 else first_ms[has_anchor] - report.within_ms
    else:
        high_ms[has_anchor] = report.until_ms
        if report.within_ms >= 0:
            high_ms[has_anchor] = np.minimum(last_ms[has_anchor] + report.within_ms, report.until_ms)
    return low_ms, high_ms
