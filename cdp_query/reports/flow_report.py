"""Flow: the names of the events that follow or precede an anchor, morsel by morsel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval, fixed_ms
from cdp_query.errors import QueryInvalid
from cdp_query.evaluate.needs import check_report_needs
from cdp_query.kernels import flows as kernels
from cdp_query.limits import FLOW_DEPTH_MAX, FLOW_NODES_SHOWN_MAX, FLOW_PATHS_MAX
from cdp_query.reports.report_kind import Finished, ReportKind, Run, in_each
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


@dataclass(frozen=True, slots=True, eq=False)
class FlowPart:
    """Distinct paths, sorted: row i of `paths`, u16[n, depth], names each event (1 + its place in `names`, 0 = none).

    counts i64[n] are the anchors with exactly this path; `growing` of all anchors may get longer paths.
    """

    names: tuple[str, ...]
    paths: U16
    counts: I64
    growing: int

    @staticmethod
    def of(names: tuple[str, ...], paths: U16, counts: I64, growing: int) -> FlowPart:
        """The part of paths that may repeat, over names in any order."""
        used = np.flatnonzero(np.bincount(paths.reshape(-1), minlength=len(names) + 1)[1:])
        kept = sorted((names[place], int(place)) for place in used)
        numbers = np.zeros(len(names) + 1, np.uint16)
        numbers[[place + 1 for _, place in kept]] = np.arange(1, len(kept) + 1)
        paths, counts = distinct_paths(numbers[paths], counts)
        if paths.shape[0] > FLOW_PATHS_MAX:
            raise QueryInvalid(
                f"the flow has {paths.shape[0]:,} different paths and at most {FLOW_PATHS_MAX:,} are counted;"
                ' take a smaller depth, or name the events that matter, as in only: ["View", "Buy"]'
            )
        return FlowPart(tuple(name for name, _ in kept), paths, counts, growing)

    def merge(self, other: FlowPart) -> FlowPart:
        """The anchors of both."""
        if not len(self) or not len(other):
            longer = self if len(self) else other
            return FlowPart(longer.names, longer.paths, longer.counts, self.growing + other.growing)
        shifted = np.where(other.paths > 0, other.paths + np.uint16(len(self.names)), np.uint16(0)).astype(np.uint16)
        names = dict.fromkeys((*self.names, *other.names))
        places = {name: number for number, name in enumerate(names, 1)}
        numbers = np.array([0, *(places[name] for name in (*self.names, *other.names))], np.uint16)
        paths = numbers[np.concatenate([self.paths, shifted])]
        counts = np.concatenate([self.counts, other.counts])
        return FlowPart.of(tuple(names), paths, counts, self.growing + other.growing)

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FlowPart)
            and (self.names, self.growing) == (other.names, other.growing)
            and np.array_equal(self.paths, other.paths)
            and np.array_equal(self.counts, other.counts)
        )

    def __hash__(self) -> int:
        return hash((self.names, self.paths.tobytes(), self.counts.tobytes(), self.growing))


def distinct_paths(paths: U16, counts: I64) -> tuple[U16, I64]:
    """(different rows of a u16[n, depth] in ascending order, the sums of their counts i64)."""
    order: I64 = np.lexsort(paths.T[::-1]).astype(np.int64)
    paths = paths[order]
    is_first = np.ones(order.shape[0], np.bool_)
    is_first[1:] = (paths[1:] != paths[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    sums: I64 = np.add.reduceat(counts[order], starts) if starts.size else counts
    return paths[starts], sums


@dataclass(frozen=True, slots=True)
class BoundFlow:
    """A flow with names and window resolved; `nodes` are (name, id) by name; within_ms < 0 means no limit."""

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
        """True if the flow follows events before its anchors."""
        return self.direction is FlowDirection.BEFORE

    def horizon(self, first_ms: int, last_ms: int) -> Interval:
        """Interval of the events that anchors between two instants can reach."""
        if self.backward:
            return Interval(TIME_MIN_MS if self.within_ms < 0 else max(first_ms - self.within_ms, TIME_MIN_MS), last_ms)
        reach_ms = self.until_ms if self.within_ms < 0 else last_ms + self.within_ms
        return Interval(first_ms, min(reach_ms, self.until_ms))


def bind_flow(report: tree.Flow, binder: Binder, schema: SchemaReading) -> BoundFlow:
    """A flow with the names of a partition; without `only`, all of them."""
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
    """(users with an anchor, the paths of the anchors)."""
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
        # Among anchors at one instant, the first name in the question represents the user.
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
        """Times of the first and last anchor of each row of a morsel; without anchors the first is after the last."""
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
        """(one path per anchor of a morsel: u16[anchors, depth], number of anchors whose path may still grow)."""
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
        """The events of a chunk that anchors of a morsel reach, including anchors."""
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
    """First and last instant that the anchors of each row reach; without any the first is after the last."""
    low_ms, high_ms, has_anchor = first_ms.copy(), last_ms.copy(), first_ms <= last_ms
    if report.backward:
        low_ms[has_anchor] = TIME_MIN_MS if report.within_ms < 0 else first_ms[has_anchor] - report.within_ms
    else:
        high_ms[has_anchor] = report.until_ms
        if report.within_ms >= 0:
            high_ms[has_anchor] = np.minimum(last_ms[has_anchor] + report.within_ms, report.until_ms)
    return low_ms, high_ms


@dataclass(frozen=True, slots=True)
class FlowNode:
    """Anchors whose path begins with these names; `ended` have no further event, `other` go on to nodes not shown."""

    path: tuple[str, ...]
    count: int
    ended: int
    other: int


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one length, i64[n] each: their first path, their anchors, and the anchors that end there."""

    starts: I64
    counts: I64
    ended: I64


def flow_nodes(part: FlowPart, shown_max: int = FLOW_NODES_SHOWN_MAX) -> tuple[list[FlowNode], int]:
    """(the most frequent nodes, each after its parent and larger ones first; the number of all nodes).

    The first node is that of all anchors. A node is never more frequent than its parent, so the nodes shown form one
    tree.
    """
    levels = [_level(part, length) for length in range(part.paths.shape[1] + 1)] if len(part) else []
    lengths = np.repeat(np.arange(len(levels)), [level.starts.shape[0] for level in levels])
    starts, counts, ended = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(level, name) for level in levels)])
        for name in ("starts", "counts", "ended")
    )
    shown = np.lexsort((starts, lengths, -counts))[:shown_max]
    paths = [tuple(part.paths[starts[node], : lengths[node]].tolist()) for node in shown]
    found = {path: (int(counts[node]), int(ended[node])) for path, node in zip(paths, shown, strict=True)}
    return _nodes(part, found), int(counts.shape[0])


def _level(part: FlowPart, length: int) -> _Level:
    """The nodes of one level.

    Paths are sorted, so those with a common beginning are adjacent, and the one that ends there is first.
    """
    paths, rows = part.paths, np.flatnonzero(part.paths[:, length - 1]) if length else np.arange(len(part))
    begins = paths[rows, :length]
    is_first = np.ones(rows.shape[0], np.bool_)
    is_first[1:] = (begins[1:] != begins[:-1]).any(axis=1)
    starts = rows[is_first]
    counts = np.add.reduceat(part.counts[rows], np.flatnonzero(is_first)) if rows.size else np.zeros(0, np.int64)
    has_next = paths[starts, length] > 0 if length < paths.shape[1] else np.ones(starts.shape[0], np.bool_)
    return _Level(starts, counts, np.where(has_next, 0, part.counts[starts]))


def _nodes(part: FlowPart, found: Mapping[tuple[int, ...], tuple[int, int]]) -> list[FlowNode]:
    continued = dict.fromkeys(found, 0)
    for path, (count, _) in found.items():
        if path:
            continued[path[:-1]] += count
    rank = {path: place for place, path in enumerate(found)}
    in_order = sorted(found, key=lambda path: [rank[path[:length]] for length in range(1, len(path) + 1)])
    return [
        FlowNode(
            tuple(part.names[number - 1] for number in path),
            count,
            ended,
            count - ended - continued[path] if len(path) < part.paths.shape[1] else 0,
        )
        for path in in_order
        for count, ended in (found[path],)
    ]


@dataclass(frozen=True, slots=True)
class FlowReport:
    """The answer of a flow: the most frequent nodes, the number of all nodes, and anchors whose path may still grow."""

    nodes: tuple[FlowNode, ...]
    node_count: int
    incomplete: int


def _evaluate(report: tree.Flow, run: Run) -> tuple[int, FlowPart]:
    bound = bind_flow(report, run.binder, run.view.schema)
    nodes = BoundEvents(tuple(name for _, name in bound.nodes), None)
    check_report_needs([bound.events, nodes], run.view)
    return flow(run.view, bound, run.population, run.checkpoint, run.stats)


def _finish(_: tree.Flow, part: FlowPart, __: tree.Context) -> Finished:
    nodes, node_count = flow_nodes(part)
    return Finished(FlowReport(tuple(nodes), node_count, part.growing), part.growing > 0)


FLOW: Final = ReportKind(
    FlowPart,
    FlowReport,
    lambda report, binder: bind_flow(report, binder, NO_SCHEMA),
    in_each(_evaluate),
    _finish,
    warm_up=(
        'flow("A", depth: 2)',
        'flow(["A", "B"], small > 3, depth: 3, direction: before, anchor: each, within: 9d)',
    ),
)
